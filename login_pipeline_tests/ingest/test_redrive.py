"""login-pipeline redrive, against real queues."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from login_pipeline.cli.main import main
from login_pipeline.ingest.redrive import redrive
from login_pipeline.settings import read_settings
from login_pipeline.sqs.transport import curl
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.fixture
def fixed(pipeline: Pipeline, body: Body) -> Pipeline:
    """Three messages on the dead-letter queue, of which a mended table takes two."""
    pipeline.run()
    pipeline.database.query("ALTER TABLE user_logins ADD CONSTRAINT wrong CHECK (locale <> 'refused')")
    pipeline.queue.send(body(user_id="a", locale="refused"), body(user_id="b", locale="refused"), "not a login")
    assert pipeline.run().failures == []
    assert pipeline.dead_letter_queue.count() == 3
    pipeline.database.query("ALTER TABLE user_logins DROP CONSTRAINT wrong")
    return pipeline


def user_ids(pipeline: Pipeline) -> list[str]:
    return sorted(row[0] for row in pipeline.database.logins())


def test_messages_are_loaded_after_what_was_wrong_is_mended(fixed: Pipeline) -> None:
    done = redrive(read_settings(), None, dry_run=False)
    assert (done.examined, done.sent_back, done.left, done.complete) == (3, 3, 0, True)
    assert done.reasons == {"refused.check_violation": 2, "not_json": 1}
    assert fixed.run().failures == []
    assert user_ids(fixed) == ["a", "b"]
    assert fixed.queue.count() == 0
    assert fixed.dead_letter_queue.count() == 1  # "not a login" is none yet
    assert fixed.run("user_logins_checks_job").passed


def test_only_messages_with_the_reason_are_sent_back(fixed: Pipeline) -> None:
    done = redrive(read_settings(), "refused.check_violation", dry_run=False)
    assert (done.examined, done.sent_back, done.left) == (3, 2, 1)
    (left,) = fixed.dead_letter_queue.take_all()
    assert left["Body"] == "not a login"


def test_dry_run_changes_nothing(fixed: Pipeline) -> None:
    done = redrive(read_settings(), None, dry_run=True)
    assert (done.examined, done.sent_back, done.left) == (3, 0, 3)
    assert fixed.queue.count() == 0
    assert len(fixed.dead_letter_queue.take_all()) == 3


def test_message_keeps_its_first_id_and_time_however_often_it_goes_round(pipeline: Pipeline) -> None:
    (first,) = pipeline.queue.send("not a login")
    pipeline.run()
    (letter,) = pipeline.dead_letter_queue.take_all()
    sent = letter["MessageAttributes"]["original_sent_timestamp"]["StringValue"]
    pipeline.queue.send("not a login")
    for _ in range(2):
        pipeline.run()
        redrive(read_settings(), None, dry_run=False)
        time.sleep(0.01)
    (again,) = pipeline.queue.take_all()
    assert "reason" not in again["MessageAttributes"]
    assert again["MessageAttributes"]["original_message_id"]["StringValue"] != first
    assert 0 <= int(again["MessageAttributes"]["original_sent_timestamp"]["StringValue"]) - int(sent) < 60_000


@pytest.mark.parametrize("by_libcurl", [curl.BY_LIBCURL, set()], ids=["libcurl", "boto3"])
def test_sender_s_attributes_are_kept_in_the_dead_letter_and_after_a_redrive(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, by_libcurl: set[str]
) -> None:
    monkeypatch.setattr(curl, "BY_LIBCURL", by_libcurl)
    sent = {
        "trace": {"DataType": "String", "StringValue": "é 1"},
        "attempt": {"DataType": "Number.int", "StringValue": "7"},
        "image": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
    }
    pipeline.queue.send("not a login", **sent, reason={"DataType": "String", "StringValue": "the sender's"})
    pipeline.run()
    redrive(read_settings(), None, dry_run=False)
    (message,) = pipeline.queue.take_all()
    attributes = message["MessageAttributes"]
    assert attributes.keys() == sent.keys() | {"original_message_id", "original_sent_timestamp"}
    assert {name: attributes[name] for name in sent} == sent


def test_dead_letter_has_as_many_of_the_sender_s_attributes_as_sqs_takes_beside_ours(pipeline: Pipeline) -> None:
    pipeline.queue.send("not a login", **{f"n{n}": {"DataType": "String", "StringValue": "x"} for n in range(10)})
    assert pipeline.run().failures == []
    (letter,) = pipeline.dead_letter_queue.take_all()
    assert len(letter["MessageAttributes"]) == 10
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "not_json"


def test_message_that_has_its_row_already_is_dropped(fixed: Pipeline) -> None:
    """As after a crash between sending back and deleting."""
    letters = fixed.dead_letter_queue.take_all()
    for letter in letters * 2:
        attributes = {name: {"DataType": "String", **value} for name, value in letter["MessageAttributes"].items()}
        fixed.dead_letter_queue.send(letter["Body"], **attributes)
    redrive(read_settings(), "refused.check_violation", dry_run=False)
    fixed.run()
    assert user_ids(fixed) == ["a", "b"]
    done = redrive(read_settings(), "refused.check_violation", dry_run=False)
    assert (done.sent_back, done.loaded_before) == (0, 2)
    assert fixed.queue.count() == 0


def test_message_that_sqs_s_own_redrive_policy_moved_is_sent_back(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pipeline.queue.client
    arn = client.get_queue_attributes(QueueUrl=pipeline.dead_letter_queue.url, AttributeNames=["QueueArn"])
    policy = f'{{"deadLetterTargetArn": "{arn["Attributes"]["QueueArn"]}", "maxReceiveCount": 2}}'
    client.set_queue_attributes(QueueUrl=pipeline.queue.url, Attributes={"RedrivePolicy": policy})
    monkeypatch.setattr("login_pipeline.sqs.login_queues.RELEASE_DELAY", 0)
    pipeline.queue.send(body())
    with monkeypatch.context() as failing:
        failing.setattr("login_pipeline.defs.assets.mask_logins", None)
        for _ in range(3):
            pipeline.run()
    assert pipeline.dead_letter_queue.count() == 1
    done = redrive(read_settings(), "max_receive_count", dry_run=False)
    assert (done.sent_back, done.reasons) == (1, {"max_receive_count": 1})
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 1


def test_reason_that_somebody_else_wrote_is_not_printed(pipeline: Pipeline) -> None:
    pipeline.run()
    reason = {"DataType": "String", "StringValue": "\x1b[31m forged\n"}
    pipeline.dead_letter_queue.send("body", reason=reason)
    assert redrive(read_settings(), None, dry_run=True).reasons == {"not_a_code": 1}


def test_redrive_that_was_killed_in_the_middle_loses_nothing_and_gives_no_second_row(
    pipeline: Pipeline, body: Body
) -> None:
    pipeline.run()
    pipeline.set(LOGIN_VISIBILITY_TIMEOUT=30)
    letters = 400
    for number in range(letters):
        pipeline.dead_letter_queue.send(body(user_id=f"user {number}"))
    command = Path(sys.executable).with_name("login-pipeline")
    process = subprocess.Popen([command, "redrive", "--json"], env={**os.environ}, stdout=subprocess.DEVNULL)
    while pipeline.queue.count() == 0 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert pipeline.run().failures == []
    while len(user_ids(pipeline)) < letters:  # what it had in hand comes back by its visibility timeout
        redrive(read_settings(), None, dry_run=False)
        assert pipeline.run().failures == []
    assert user_ids(pipeline) == sorted(f"user {number}" for number in range(letters))
    while pipeline.dead_letter_queue.count():  # it may have sent them all back, and deleted none
        redrive(read_settings(), None, dry_run=False)
    assert pipeline.queue.count() == 0


def test_message_that_cannot_be_sent_back_stays_and_is_told(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.run()
    client = pipeline.queue.client
    client.set_queue_attributes(QueueUrl=pipeline.queue.url, Attributes={"MaximumMessageSize": "1024"})
    pipeline.dead_letter_queue.send("x" * 2000, "not a login")
    monkeypatch.setattr("sys.argv", ["login-pipeline", "redrive", "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert end.value.code == 1
    assert {name: value for name, value in json.loads(out).items() if name != "reasons"} == {
        "examined": 2,
        "sent_back": 1,
        "loaded_before": 0,
        "left": 1,
        "in_flight": 0,
        "complete": True,
    }
    assert err.startswith("SQS refused 1 messages (")
    assert len(err.splitlines()) == 1
    assert pipeline.dead_letter_queue.count() == 1


def test_redrive_shows_what_it_did_by_reason(
    fixed: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["login-pipeline", "redrive", "--dry-run"])
    with pytest.raises(SystemExit) as end:
        main()
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert end.value.code == 0
    assert shown[:3] == [["examined", "3"], ["not_json", "1"], ["refused.check_violation", "2"]]


def test_redrive_of_more_than_sqs_keeps_in_flight_says_that_it_is_not_complete(
    fixed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.redrive.IN_FLIGHT_BUDGET", 2)
    monkeypatch.setattr("login_pipeline.ingest.redrive.AT_ONCE", 2)
    done = redrive(read_settings(), None, dry_run=True)
    assert not done.complete
    assert fixed.dead_letter_queue.depth() == (3, 0)


def test_letters_that_a_killed_redrive_holds_are_told(
    fixed: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = fixed.dead_letter_queue
    queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, VisibilityTimeout=100)
    monkeypatch.setattr("sys.argv", ["login-pipeline", "redrive"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "3 messages on the dead-letter queue were in flight, such as those of a redrive that was killed; they are "
        "visible again within 900 s; redrive again then\n"
    )


def test_reason_that_no_message_has_is_told(
    fixed: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["login-pipeline", "redrive", "--reason", "malformed.id"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert "has the reason malformed.id; there are not_json, refused.check_violation" in capsys.readouterr().err
    assert fixed.dead_letter_queue.depth() == (3, 0)
