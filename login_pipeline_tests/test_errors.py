"""The sentences that no other test comes by: each says what is wrong, where, and what to do, on one line."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.cli.drain import drain
from login_pipeline.cli.send import send_lines
from login_pipeline.definitions import defs
from login_pipeline.errors import ConfigurationError, QueueError
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline.local.sqs import LocalSqs
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth, SqsQueue
from login_pipeline_tests.conftest import Pipeline


def test_queue_that_takes_nothing_ends_the_sending(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a queue that is deleted, or a permission that is taken away, between the look at it and the sending."""
    monkeypatch.setattr(SqsQueue, "depth", lambda _self: QueueDepth(0, 0, 0))
    pipeline.set(LOGIN_QUEUE_URL=pipeline.queue.url + "-deleted")
    with pytest.raises(QueueError, match=r"SQS takes no message \(.+\); 0 were sent, none from line 1 on; check the "):
        send_lines(LoginQueues(read_settings()).login_queue, [b"one", b"two"])


def test_line_that_sqs_refuses_is_named_with_its_code(pipeline: Pipeline) -> None:
    sent = send_lines(LoginQueues(read_settings()).login_queue, [b"good", b"x" * 2_000_000])
    assert sent.messages == 1
    assert list(sent.refused) == [2]
    assert sent.refused[2].startswith("SQS refused it (")


def test_drain_gives_up_on_messages_that_another_consumer_keeps(
    pipeline: Pipeline, body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.send(body())
    pipeline.queue.client.receive_message(QueueUrl=pipeline.queue.url, VisibilityTimeout=600)
    hours = iter(range(0, 36_000_000, 3600))
    monkeypatch.setattr("login_pipeline.cli.drain.time", SimpleNamespace(monotonic=lambda: next(hours), sleep=print))
    totals = drain(read_settings(), pipeline.instance, lambda _totals, _depth: None)
    assert totals.failures == [
        "The queue still counts 1 messages in flight and 0 delayed; another consumer holds them; drain again when it "
        "has finished"
    ]


def test_doctor_shows_how_the_table_differs(pipeline: Pipeline) -> None:
    pipeline.database.query("CREATE TABLE user_logins (user_id integer)")
    finding = {each.subject: each for each in examine()}["database"]
    assert not finding.well
    assert "Table user_logins in LOGIN_DATABASE_URL is not the destination: device_type is missing; " in finding.says
    assert "user_id is integer, not character varying(128)" in finding.says


@pytest.mark.parametrize("asset", ["raw_sqs_messages", "masked_logins", "quarantined_logins", "user_logins_table"])
def test_asset_that_is_materialized_alone_says_what_to_launch(pipeline: Pipeline, asset: str) -> None:
    pipeline.queue.send("a message that stays where it is")
    result = defs.resolve_job_def("login_job").execute_in_process(
        instance=pipeline.instance, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
    )
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    assert (failure.description or "").endswith("launch login_job, or materialize all the assets together")
    assert pipeline.queue.depth() == (1, 0)


@pytest.mark.parametrize("service", ["postgres.LocalPostgres", "sqs.LocalSqs"])
def test_services_that_are_not_installed_are_reported_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    module, _ = service.split(".")
    monkeypatch.setattr(f"login_pipeline.local.{module}.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError) as error:
        (LocalPostgres if module == "postgres" else LocalSqs)(tmp_path / "data")
    assert error.value.sentence.endswith(" are not installed; install the extra `local` of login-pipeline")


def test_postgres_that_cannot_be_set_up_is_reported_with_its_own_reason(tmp_path: Path) -> None:
    initdb = tmp_path / "initdb"
    initdb.write_text("#!/bin/sh\necho 'first line' >&2\necho 'no space left' >&2\nexit 1\n")
    initdb.chmod(0o755)
    with temporary_folder() as folder:
        initdb = initdb.rename(folder / "initdb")
        with pytest.raises(ConfigurationError) as error:
            LocalPostgres(folder / "data", binaries=folder)
    assert error.value.sentence == "The embedded PostgreSQL cannot be set up: no space left"


def test_sqs_that_does_not_start_is_reported_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("login_pipeline.local.sqs._AT_ONCE", ("--no-such-option",))
    with pytest.raises(ConfigurationError) as error:
        LocalSqs(tmp_path / "sqs")
    assert error.value.sentence == f"The embedded SQS server does not start; {tmp_path}/sqs/server.log says why"
    assert "no-such-option" in (tmp_path / "sqs" / "server.log").read_text()


def test_folder_that_cannot_be_made_is_reported_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below"
    with pytest.raises(ConfigurationError) as error, local_services(folder):
        pass
    assert error.value.sentence == f"LOGIN_LOCAL_DIR={folder} cannot be made: Not a directory; name another"


def test_drain_says_when_sqs_counts_messages_and_delivers_none(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the limit of messages in flight, to which no server at hand keeps."""
    monkeypatch.setattr("login_pipeline.cli.drain.COUNTS_LAG", 0)
    monkeypatch.setattr("login_pipeline.sqs.queue.SqsQueue.depth", lambda _: QueueDepth(5, 120_000, 0))
    assert drain(read_settings(), pipeline.instance, lambda *_: None).failures == [
        "SQS counts 5 messages to receive and has delivered none for 0 s; 120000 are in flight, and at 120,000 it "
        "delivers nothing more; stop other consumers, or wait until what they hold is visible again"
    ]
