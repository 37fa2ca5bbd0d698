"""login-pipeline redrive, against real queues."""

import json
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from login_pipeline.ingest.redrive import redrive
from login_pipeline.settings import read_settings
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline.sqs.transport import curl
from login_pipeline_tests.backup.fixtures import wait_until
from login_pipeline_tests.conftest import Command, Pipeline
from login_pipeline_tests.exactly_once.stepped_process import KilledError

Body = Callable[..., str]


@pytest.fixture
def fixed(prepared: Pipeline, body: Body) -> Pipeline:
    """Three messages on the dead-letter queue, of which a corrected table takes two."""
    prepared.database.query("ALTER TABLE user_logins ADD CONSTRAINT wrong CHECK (locale <> 'refused')")
    prepared.queue.send(body(user_id="a", locale="refused"), body(user_id="b", locale="refused"), "not a login")
    assert prepared.run().failures == []
    assert prepared.dead_letter_queue.count() == 3
    prepared.database.query("ALTER TABLE user_logins DROP CONSTRAINT wrong")
    return prepared


def user_ids(pipeline: Pipeline) -> list[str]:
    return sorted(row[0] for row in pipeline.database.logins())


def test_messages_are_loaded_after_what_was_wrong_is_corrected(fixed: Pipeline) -> None:
    done = redrive(read_settings(), None, dry_run=False)
    assert (done.examined, done.sent_back, done.left, done.complete) == (3, 3, 0, True)
    assert done.reasons == {"refused.check_violation": 2, "not_json": 1}
    assert fixed.run().failures == []
    assert user_ids(fixed) == ["a", "b"]
    assert fixed.queue.count() == 0
    assert fixed.dead_letter_queue.count() == 1  # "not a login" is none yet
    assert fixed.run("user_logins_checks_job").passed


def test_only_messages_with_the_reason_are_sent_back_and_none_in_a_dry_run(
    fixed: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.redrive.AT_ONCE", 1)  # in the later batches, too
    code, out, _ = command("redrive", "--dry-run")
    shown = [line.split() for line in out.splitlines()]
    assert (code, shown[:3]) == (0, [["examined", "3"], ["not_json", "1"], ["refused.check_violation", "2"]])
    code, _, err = command("redrive", "--reason", "malformed.id")
    assert code == 1
    assert "has the reason malformed.id; there are not_json, refused.check_violation" in err
    assert (fixed.queue.count(), fixed.dead_letter_queue.depth()) == (0, (3, 0))
    done = redrive(read_settings(), "refused.check_violation", dry_run=False)
    assert (done.examined, done.sent_back, done.left) == (3, 2, 1)
    (left,) = fixed.dead_letter_queue.take_all()
    assert left["Body"] == "not a login"


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
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
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


@pytest.mark.parametrize("deleted", [False, True])
def test_redrive_that_was_killed_in_the_middle_loses_nothing_and_gives_no_second_row(
    prepared: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
) -> None:
    users = [f"user {number:02}" for number in range(30)]
    prepared.dead_letter_queue.send(*(body(user_id=user) for user in users))
    delete, deletes = SqsQueue.delete, count(1)

    def die_at_the_second(queue: SqsQueue, *arguments: Any) -> dict[str, int]:
        second = next(deletes) == 2
        if second and not deleted:
            raise KilledError
        not_deleted = delete(queue, *arguments)
        if second:
            raise KilledError
        return not_deleted

    soon_visible = read_settings().model_copy(update={"visibility_timeout": 2})
    with monkeypatch.context() as death:
        death.setattr("login_pipeline.ingest.redrive.AT_ONCE", 10)
        death.setattr(SqsQueue, "delete", die_at_the_second)
        death.setattr(SqsQueue, "release", lambda *_: None)  # what is dead releases nothing
        with pytest.raises(KilledError):
            redrive(soon_visible, None, dry_run=False)
    assert prepared.queue.count() >= 20
    assert prepared.run().failures == []
    wait_until(lambda: prepared.dead_letter_queue.depth()[1] == 0)
    done = redrive(read_settings(), None, dry_run=False)
    assert (done.loaded_before > 0, done.left) == (not deleted, 0)
    assert prepared.run().failures == []
    assert user_ids(prepared) == users
    assert (prepared.queue.count(), prepared.dead_letter_queue.count()) == (0, 0)


def test_message_that_cannot_be_sent_back_stays_and_is_reported(prepared: Pipeline, command: Command) -> None:
    client = prepared.queue.client
    client.set_queue_attributes(QueueUrl=prepared.queue.url, Attributes={"MaximumMessageSize": "1024"})
    prepared.dead_letter_queue.send("x" * 2000, "not a login")
    code, out, err = command("redrive", "--json")
    assert code == 1
    figures = {"examined": 2, "sent_back": 1, "loaded_before": 0, "left": 1, "in_flight": 0, "complete": True}
    assert {name: value for name, value in json.loads(out).items() if name != "reasons"} == figures
    assert err.startswith("SQS refused 1 messages (")
    assert len(err.splitlines()) == 1
    assert prepared.dead_letter_queue.count() == 1


def test_redrive_of_more_than_sqs_keeps_in_flight_says_that_it_is_not_complete(
    prepared: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.ingest.redrive.IN_FLIGHT_BUDGET", 2)
    monkeypatch.setattr("login_pipeline.ingest.redrive.AT_ONCE", 2)
    prepared.dead_letter_queue.send("one", "two", "three")
    done = redrive(read_settings(), None, dry_run=True)
    assert not done.complete
    assert prepared.dead_letter_queue.depth() == (3, 0)


def test_letters_that_a_killed_redrive_holds_are_reported(prepared: Pipeline, command: Command) -> None:
    queue = prepared.dead_letter_queue
    queue.send("one", "two", "three")
    queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, VisibilityTimeout=100)
    code, _, err = command("redrive")
    assert code == 1
    assert err == (
        "3 messages on the dead-letter queue were in flight, such as those of a redrive that was killed; they are "
        "visible again within 900 s; redrive again then\n"
    )
