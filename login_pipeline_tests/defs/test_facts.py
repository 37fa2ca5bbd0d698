"""What is known of the pipeline is what SQS, PostgreSQL and Dagster's records say at that moment."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import enumerate as threads

import dagster as dg
import pytest

from login_pipeline.cli.runs import Run, run
from login_pipeline.definitions import defs
from login_pipeline.defs.facts import UNANSWERED, Batches, Check, Facts, Source, gather
from login_pipeline.instance import HOST_TAG
from login_pipeline.local.ports import wait_until
from login_pipeline.logins.reasons import Reason
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline_tests.conftest import MASKING_KEY, Database, Pipeline
from login_pipeline_tests.faults.tcp_proxy import TcpProxy

Body = Callable[..., str]
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


def facts(instance: dg.DagsterInstance, since: timedelta = timedelta(minutes=10)) -> Facts:
    settings = read_settings()
    return gather(instance, LoginQueues(settings), LoginDatabase(settings), since=datetime.now(UTC) - since)


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, job: str = "login_job", **tags: str) -> None:
    instance.create_run_for_job(defs.resolve_job_def(job), status=status, tags=tags)


def test_before_the_first_run_nothing_has_happened_and_nothing_is_wrong(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body
) -> None:
    pipeline.queue.send(body(), body())
    known = facts(recorded)
    assert known.problems == {}
    assert known.login_queue == QueueDepth(2, 0, 0)
    assert known.dead_letters == dict.fromkeys(Reason, 0)
    assert known.runs is not None
    assert (known.runs.batches, known.runs.failures_in_a_row) == (Batches(0, 0, 0, 0), 0)
    assert (known.runs.received_at, known.runs.backup_at, known.runs.rows) == (None, None, None)


def test_what_runs_did_is_added_up_and_what_is_older_is_left_out(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.defs.facts.READ_AT_ONCE", 1)
    pipeline.set(LOGIN_MASKING_KEY=f"2026-01-02:{MASKING_KEY}")
    for _ in range(3):
        pipeline.queue.send(body(), body(), "not a login", body(ip="nowhere"))
        assert run("login_job", recorded).passed
    recorded.report_runless_asset_event(dg.AssetMaterialization("user_logins_table"))  # a person's, in the UI
    known = facts(recorded)
    assert known.dead_letters == {**dict.fromkeys(Reason, 0), Reason.NOT_JSON: 3, Reason.MALFORMED: 3}
    assert known.runs is not None
    assert known.runs.batches == Batches(loaded=6, duplicates=0, quarantined=6, deleted=12)
    assert known.runs.ended == {SUCCESS: 3}
    assert 0 < known.runs.longest_seconds < 60
    assert known.runs.received_at is not None
    assert datetime.now(UTC) - known.runs.received_at < timedelta(minutes=1)
    assert known.runs.oldest_age is not None
    assert known.runs.key_made_on == date(2026, 1, 2)
    assert known.runs.database_bytes is not None
    assert known.runs.database_bytes > 1_000_000
    later = facts(recorded, since=timedelta(0))
    assert later.runs is not None
    assert (later.runs.batches, later.runs.ended, sum((later.dead_letters or {}).values())) == (
        Batches(0, 0, 0, 0),
        {},
        0,
    )
    assert later.runs.received_at == known.runs.received_at


def test_runs_on_their_way_at_work_and_failed_in_a_row_are_counted(recorded: dg.DagsterInstance) -> None:
    canceled, canceling = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING
    for status in (FAILURE, SUCCESS, FAILURE, canceled, FAILURE, canceled, canceling):
        add_run(recorded, status)
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING):
        add_run(recorded, status)
    for host in ("a", "b", "b"):
        add_run(recorded, dg.DagsterRunStatus.STARTED, **{HOST_TAG: host})
    runs = facts(recorded).runs
    assert runs is not None
    assert (runs.waiting, runs.at_work, runs.hosts, runs.failures_in_a_row) == (2, 3, 2, 2)


def test_job_beside_login_job_fails_from_its_first_newest_run_that_failed(recorded: dg.DagsterInstance) -> None:
    nightly = "inbox_pruning_job", "user_logins_expiry_job", "user_logins_backup_job", "run_history_job"
    for job in nightly:
        for status in (SUCCESS, FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.STARTED):
            add_run(recorded, status, job)
    add_run(recorded, SUCCESS, "run_history_job")
    runs = facts(recorded).runs
    assert runs is not None
    assert runs.job_failed == {**dict.fromkeys(nightly, True), "run_history_job": False}
    assert runs.failures_in_a_row == 0


def test_check_that_cannot_run_has_failed_though_it_passed_before(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body
) -> None:
    pipeline.queue.send(body())
    assert run("login_job", recorded).passed
    assert check(recorded).passed
    add_run(recorded, dg.DagsterRunStatus.CANCELED, "user_logins_checks_job")
    runs = facts(recorded).runs
    assert runs is not None
    assert runs.checks["rows_agree_with_the_inbox"] == Check(passed=True, warns=False)
    pipeline.database.query("ALTER TABLE user_logins_ledger RENAME TO gone")
    assert not check(recorded).passed
    runs = facts(recorded).runs
    assert runs is not None
    assert runs.checks["rows_agree_with_the_inbox"] == Check(passed=False, warns=False, ran=False)
    assert runs.checks["rows_share_their_group_with_others"] == Check(passed=False, warns=True, ran=False)


def check(recorded: dg.DagsterInstance) -> Run:
    return run("user_logins_checks_job", recorded)


def test_newest_results_of_the_checks_are_known_also_while_they_run_again(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body
) -> None:
    pipeline.queue.send(body(), body())
    assert run("login_job", recorded).passed
    assert check(recorded).passed
    runs = facts(recorded).runs
    assert runs is not None
    assert len(runs.checks) == 8
    assert {name for name, result in runs.checks.items() if not result.passed} == {"rows_share_their_group_with_others"}
    assert runs.checks["rows_share_their_group_with_others"] == Check(passed=False, warns=True)
    assert (runs.rows, runs.rows_below_k) == (2, 2)

    pipeline.database.query("INSERT INTO user_logins (user_id) VALUES ('of no message')")
    assert not check(recorded).passed
    recorded.create_run_for_job(defs.resolve_job_def("user_logins_checks_job"))  # it plans the checks
    runs = facts(recorded).runs
    assert runs is not None
    assert runs.checks["rows_agree_with_the_inbox"] == Check(passed=False, warns=False)
    assert runs.rows == 3


def test_backup_that_a_run_made_is_known(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / "backups"))
    pipeline.queue.send(body())
    assert run("login_job", recorded).passed
    assert run("user_logins_backup_job", recorded).passed
    runs = facts(recorded).runs
    assert runs is not None
    assert runs.backup_at is not None
    assert datetime.now(UTC) - runs.backup_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("setting", "value", "source"),
    [
        ("LOGIN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing", Source.DATABASE),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1", Source.LOGIN_QUEUE),
    ],
)
def test_source_that_says_nothing_costs_the_others_nothing(
    pipeline: Pipeline, recorded: dg.DagsterInstance, setting: str, value: str, source: Source
) -> None:
    pipeline.set(**{setting: value})
    known = facts(recorded)
    assert set(known.problems) == {source}
    assert (known.dead_letters is None) == (source is Source.DATABASE)
    assert known.runs is not None


def test_dagster_that_is_silent_holds_nothing_up_and_few_threads_wait_for_it(
    pipeline: Pipeline, dagsters: Database, recorded: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.defs.facts.ANSWER_SECONDS", 2.0)
    with TcpProxy(dagsters.url) as proxy:
        pipeline.set(LOGIN_DAGSTER_DATABASE_URL=proxy.url.replace("postgresql://", "postgresql+psycopg2://"))
        with dg.DagsterInstance.get() as instance:
            proxy.answering = False
            for _ in range(UNANSWERED + 2):
                known = facts(instance)
                assert known.problems[Source.DAGSTER].startswith("The source dagster gave no answer in 2 seconds; ")
                assert known.login_queue is not None
            assert len(_asking(Source.DAGSTER)) == UNANSWERED
            proxy.heal()
            proxy.cut()
            assert wait_until(lambda: not _asking(Source.DAGSTER), seconds=60)
            assert facts(instance).problems == {}


def _asking(source: Source) -> list[str]:
    return [thread.name for thread in threads() if thread.name == f"ask {source}"]


def test_dagster_that_cannot_be_read_is_a_sentence(dagsters: Database, recorded: dg.DagsterInstance) -> None:
    dagsters.query("ALTER TABLE runs RENAME TO gone")
    known = facts(recorded)
    assert known.runs is None
    assert known.login_queue is not None
    assert known.problems[Source.DAGSTER].startswith("Dagster's records cannot be read (")
