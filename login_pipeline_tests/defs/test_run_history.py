"""What Dagster keeps of old runs is purged, and nothing else."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from login_pipeline.cli.runs import run
from login_pipeline.definitions import defs
from login_pipeline.defs import run_history
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database, Pipeline

SUCCESS, FAILURE, CANCELED = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED
NOT_ENDED = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING)

Body = Callable[..., str]


def test_every_job_s_runs_are_purged() -> None:
    jobs = sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))
    assert sorted(run_history.JOBS) == jobs


def test_run_is_kept_so_many_days_a_failed_one_ten_times_longer_and_one_that_has_not_ended_always(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest successful one stays, too. In a storage that is not PostgreSQL, as well."""
    monkeypatch.setattr(run_history, "RUNS_AT_ONCE", 2)
    now, job = datetime.now(UTC), defs.resolve_job_def("login_job")
    statuses = [FAILURE, CANCELED, *NOT_ENDED, *[SUCCESS] * 6]
    for status in statuses:
        newest = pipeline.instance.create_run_for_job(job, status=status)
    left = Counter(statuses)
    for days, ended in ((2, []), (4, [SUCCESS] * 5), (29, []), (31, [FAILURE, CANCELED]), (400, [])):
        purged = run_history.purge(pipeline.instance, days=3, now=now + timedelta(days=days))
        left -= Counter(ended)
        assert purged.runs == len(ended)
        assert Counter(each.status for each in pipeline.instance.get_runs()) == left
    assert pipeline.instance.get_run_by_id(newest.run_id) is not None


def tables_with(database: Database, run_id: str) -> set[str]:
    tables = ("runs", "event_logs", "asset_check_executions")
    return {table for table in tables if database.query(f"SELECT 1 FROM {table} WHERE run_id = %s", run_id)}  # noqa: S608


def test_job_purges_a_run_with_all_that_is_kept_of_it_and_observations_but_the_newest(
    pipeline: Pipeline, body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In PostgreSQL, as in production."""
    monkeypatch.setattr(run_history, "OBSERVATIONS_AT_ONCE", 1)
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy/dagster.yaml").read_bytes())
    storage = pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://")
    pipeline.set(LOGIN_DAGSTER_DATABASE_URL=storage, DAGSTER_HOME=str(tmp_path), LOGIN_RUN_HISTORY_DAYS=1)
    pipeline.set(LOGIN_MAX_CONCURRENT_RUNS=1)
    queue = dg.AssetKey("login_queue")
    with dg.DagsterInstance.get() as instance:
        for messages in range(3):
            instance.report_runless_asset_event(dg.AssetObservation(queue, metadata={"messages": messages}))
        for _ in range(2):
            pipeline.queue.send(body())
            assert run("login_job", instance).passed
        newest, old = (each.run_id for each in instance.get_runs())
        kept = tables_with(pipeline.database, old)
        assert kept == {"runs", "event_logs", "asset_check_executions"}
        pipeline.database.query("UPDATE runs SET update_timestamp = update_timestamp - interval '2 days'")
        pipeline.database.query('UPDATE event_logs SET "timestamp" = "timestamp" - interval \'2 days\'')
        result = defs.resolve_job_def("run_history_job").execute_in_process(instance=instance)
        (output,) = [event.step_output_data for event in result.all_events if event.is_successful_output]
        assert {name: value.value for name, value in output.metadata.items()} == {"runs": 1, "observations": 2}
        assert tables_with(pipeline.database, old) == set()
        assert tables_with(pipeline.database, newest) == kept
        (observed,) = instance.fetch_observations(queue, limit=1000).records
        assert observed.asset_observation is not None
        assert observed.asset_observation.metadata["messages"].value == 2


def test_wrong_setting_is_its_sentence(pipeline: Pipeline) -> None:
    pipeline.set(LOGIN_RUN_HISTORY_DAYS=0)
    (failure,) = pipeline.run("run_history_job").failures
    assert failure.startswith("LOGIN_RUN_HISTORY_DAYS: ")
