"""login_job, from a real queue to a real table."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from login_pipeline.cli.runs import run
from login_pipeline.masking.keys import read_key_ring
from login_pipeline.masking.methods import hmac_sha256_masks
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import MASKING_KEY, Pipeline

Body = Callable[..., str]
FIRST_ID = "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"


def test_message_becomes_a_row_with_exactly_the_destination_s_columns(pipeline: Pipeline, body: Body) -> None:
    pipeline.queue.send(body(locale=None))
    run = pipeline.run()
    assert run.failures == []
    masks = hmac_sha256_masks(read_key_ring(MASKING_KEY).active)
    assert pipeline.database.logins() == [
        (
            "424cdd21-063a-43a7-b91b-7ca1a833afae",
            "android",
            masks.ip("199.172.111.135"),
            masks.device_id("593-47-5928"),
            None,
            2,
            datetime.now(UTC).date(),
        )
    ]
    assert pipeline.queue.count() == 0


def test_message_that_was_in_the_dead_letter_queue_keeps_its_id_and_its_date(pipeline: Pipeline, body: Body) -> None:
    string, number = "String", "Number"
    attributes = {
        "reason": {"DataType": string, "StringValue": "malformed.ip"},
        "original_message_id": {"DataType": string, "StringValue": FIRST_ID},
        "original_sent_timestamp": {"DataType": number, "StringValue": "1767225599999"},
    }
    pipeline.queue.send(body(), body(), **attributes)
    run = pipeline.run()
    assert run.failures == []
    assert [str(row[-1]) for row in pipeline.database.logins()] == ["2025-12-31"]
    assert pipeline.queue.count() == 1  # its twin, on its way back
    assert pipeline.database.query("SELECT message_id FROM user_logins_inbox") == [(FIRST_ID,)]


def test_timestamp_that_somebody_else_wrote_is_not_believed(pipeline: Pipeline, body: Body) -> None:
    for number, timestamp in enumerate(("tomorrow", "-1", "99999999999999999999999")):
        pipeline.queue.send(
            body(),
            original_message_id={"DataType": "String", "StringValue": f"{FIRST_ID[:-1]}{number}"},
            original_sent_timestamp={"DataType": "String", "StringValue": timestamp},
        )
    assert pipeline.run().failures == []
    assert [row[-1] for row in pipeline.database.logins()] == [datetime.now(UTC).date()] * 3


def test_redelivered_messages_get_no_second_row(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between commit and delete: loaded, and delivered again."""
    pipeline.queue.send(*(body() for _ in range(10)))
    with monkeypatch.context() as crash:
        crash.setattr("login_pipeline.sqs.queue.SqsQueue.delete", _crash)
        crash.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
        assert pipeline.run().failures
    assert len(pipeline.database.logins()) == 10
    assert pipeline.queue.count() == 10

    again = pipeline.run()
    assert again.metadata["user_logins_table"]["duplicates"] == 10
    assert again.metadata["user_logins_table"]["loaded"] == 0
    assert len(pipeline.database.logins()) == 10
    assert pipeline.queue.count() == 0
    assert pipeline.run("user_logins_checks_job").passed


def _crash(*_: object) -> None:
    raise RuntimeError("crash between commit and delete")


def test_failed_check_loads_nothing_and_hands_the_messages_back(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.send(body(), '{"not": "a login"}')
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    with monkeypatch.context() as leak:
        leak.setattr("login_pipeline.masking.masker.Masker.masks", _no_masks)
        run = pipeline.run()
    failed = "Asset checks failed: masked_values_hold_no_clear_value; nothing was changed after them"
    assert run.failures == [failed]
    assert [check.name for check in run.checks if not check.passed] == ["masked_values_hold_no_clear_value"]
    assert [clear for clear in ("199.172.111.135", "593-47-5928") if clear in stored(pipeline)] == []
    assert pipeline.database.logins() == []
    assert len(pipeline.queue.take_all()) == 2
    assert pipeline.dead_letter_queue.count() == 0


def _no_masks(_self: object) -> object:
    from login_pipeline.masking.methods import Masks

    return Masks(ip=str, device_id=str)


def test_rows_of_before_the_pipeline_are_kept_and_agree_with_the_inbox(pipeline: Pipeline, body: Body) -> None:
    from login_pipeline.postgres import statements

    pipeline.database.query(statements.user_logins.create)
    pipeline.database.query("INSERT INTO user_logins (user_id, create_date) VALUES ('a', '2020-01-01'), ('b', NULL)")
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 3
    assert pipeline.run("user_logins_checks_job").passed


SENTINELS = ("203.0.113.77", "sentinel-1", "sentinel-2", "sentinel-3")


def send_sentinels(pipeline: Pipeline, body: Body) -> None:
    valid = body(ip="203.0.113.77", device_id="sentinel-1")
    pipeline.queue.send(valid, body(ip="sentinel-2"), '{"sentinel-3": 1')


def stored(pipeline: Pipeline) -> str:
    """All that Dagster keeps of its runs."""
    runs = pipeline.instance.get_runs()
    return "".join(str(entry) for run in runs for entry in pipeline.instance.all_logs(run.run_id))


def test_dagster_stores_counts_of_masked_logins_and_no_mask(pipeline: Pipeline, body: Body) -> None:
    """Neither `forget` nor `keys rotate` reaches what Dagster stores."""
    pipeline.queue.send(
        body(), body(app_version="3.0.0"), body(ip="192.0.2.9"), body(ip="192.0.2.9", device_id="another", locale=None)
    )
    counts = pipeline.run().metadata["masked_logins"]
    masks = {mask for row in pipeline.database.logins() for mask in row[2:4]}
    assert len(masks) == 4
    assert [mask for mask in masks if mask in stored(pipeline)] == []
    assert {name: counts[name] for name in counts if name.startswith(("distinct", "null"))} == {
        "distinct_ips": 2,
        "distinct_devices": 2,
        "distinct_app_versions": 2,
        "null_locales": 1,
    }


def test_nothing_that_a_run_writes_to_disk_holds_personal_data(pipeline: Pipeline, body: Body, tmp_path: Path) -> None:
    send_sentinels(pipeline, body)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:  # its events are in files, too
        assert run("login_job", instance).failures == []
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"user_logins_table" in content for content in written)
    assert [sentinel for sentinel in SENTINELS if any(sentinel.encode() in content for content in written)] == []


def test_refused_row_is_neither_stored_nor_logged(
    pipeline: Pipeline, body: Body, capfd: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL's DETAIL quotes the row, and what Dagster stores is not reached by `forget`."""
    LoginDatabase(read_settings()).prepare()
    pipeline.database.query("ALTER TABLE user_logins ADD CHECK (user_id <> 'sentinel-4')")
    pipeline.queue.send(body(user_id="sentinel-4"))
    assert pipeline.run().metadata["user_logins_table"]["reasons"] == {"refused.check_violation": 1}
    assert "sentinel-4" not in stored(pipeline) + capfd.readouterr().err


def test_error_that_quotes_a_message_is_neither_stored_nor_logged(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def quote(raw: object, _masks: object) -> None:
        raise ValueError(f"cannot mask {raw['body'].tolist()}")  # type: ignore[index]

    send_sentinels(pipeline, body)
    monkeypatch.setattr("login_pipeline.defs.assets.mask_logins", quote)
    run = pipeline.run()
    assert run.failures == ["Step masked_logins failed unexpectedly; where it came from is shown above"]
    shown = capfd.readouterr().err
    assert "ValueError" in shown
    assert "in masked_logins" in shown
    assert [sentinel for sentinel in SENTINELS if sentinel in stored(pipeline) + shown] == []
