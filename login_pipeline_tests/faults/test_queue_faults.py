"""Faults of SQS and of the way to it: duplicates, partial answers, refusals, and silence."""

import json
import re
import time
import uuid
from contextlib import ExitStack

import pytest

from login_pipeline.cli.send import send_lines
from login_pipeline.defs import sensors
from login_pipeline.errors import ConfigurationError, QueueError
from login_pipeline.ingest.redrive import redrive
from login_pipeline.settings import read_settings
from login_pipeline.sqs.batches import PAUSES
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline_tests.conftest import Queue
from login_pipeline_tests.defs.test_sensors import skip_reason, tick
from login_pipeline_tests.faults.account import Account, one_sentence
from login_pipeline_tests.faults.moments import WAITING_LOADS, background_run, loading, received, wait_for
from login_pipeline_tests.faults.sqs_faults import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    NO_SUCH_QUEUE,
    OVER_LIMIT,
    RATE_EXCEEDED,
    THROTTLED,
    TOO_LONG,
    UNAVAILABLE,
    UNCONFIRMED,
    Hold,
    Some,
    after_seconds,
    answered,
    cut_after,
    cut_before,
    deleted_and_delivered_again,
    entry_fails,
    error,
    twice,
    with_request,
)
from login_pipeline_tests.faults.sqs_proxy import Answer, Fault, SqsProxy
from login_pipeline_tests.faults.tcp_proxy import Fault as DatabaseFault
from login_pipeline_tests.faults.tcp_proxy import TcpProxy

# What the SDK tries again, and what has had no effect.
PASSING: dict[str, Fault] = {
    "throttled": THROTTLED,
    "rate exceeded": RATE_EXCEEDED,
    "without namespace": lambda *_: Answer(400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
    "unavailable": UNAVAILABLE,
    "500": error(500, "com.amazonaws.sqs#InternalFailure", "InternalFailure", "Internal failure."),
    "cut before": cut_before,
}
ACTIONS = (
    "GetQueueAttributes",
    "ReceiveMessage",
    "DeleteMessageBatch",
    "SendMessageBatch",
    "ChangeMessageVisibilityBatch",
)


# Duplicates


def test_message_that_comes_twice_in_one_answer_gets_one_row(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(20, malformed=3)
    with sqs_proxy.breaking("ReceiveMessage", twice):
        assert account.pipeline.run().failures == []
        account.drain()
    account.assert_settled()


def test_message_that_every_receive_delivers_again_gets_one_row(account: Account, sqs_proxy: SqsProxy) -> None:
    """No message is ever hidden: in one batch each comes as often as the batch has room."""
    account.send(12, malformed=1)
    with sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=0)):
        account.drain()
    account.assert_settled(letters_twice=True)


def test_message_in_two_runs_at_once_gets_one_row(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(10)
    deletes = Hold()
    with (
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=0)),
        sqs_proxy.breaking("DeleteMessageBatch", deletes),
        background_run(account.pipeline) as one,
        background_run(account.pipeline) as other,
    ):
        deletes.wait(2)  # both have committed, and neither has deleted
        deletes.let_go()
        figures = [run.result().metadata["user_logins_table"] for run in (one, other)]
    assert sum(figure["loaded"] for figure in figures) == 10
    assert sum(figure["duplicates"] for figure in figures) == 10
    account.drain()
    account.assert_settled()


def test_reject_in_two_runs_at_once_is_one_dead_letter(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(0, malformed=2)
    sends = Hold()
    with (
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=0)),
        sqs_proxy.breaking("SendMessageBatch", sends),
        background_run(account.pipeline) as one,
        background_run(account.pipeline) as other,
    ):
        sends.wait()
        wait_for(account.pipeline.database, WAITING_LOADS)
        sends.let_go()
        figures = [run.result().metadata.get("quarantined_logins", {}) for run in (one, other)]
    assert sorted(figure.get("dagster/row_count", 0) for figure in figures) == [0, 2]
    account.drain()
    account.assert_settled()


def test_message_that_is_delivered_again_after_its_delete_gets_no_second_row(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(20)
    with (
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=1)),
        sqs_proxy.breaking("DeleteMessageBatch", deleted_and_delivered_again),
    ):
        run = account.pipeline.run()
    assert run.failures == []
    assert run.metadata["user_logins_table"]["deleted"] == 20
    time.sleep(1)
    (again,) = account.drain()
    assert again.metadata["user_logins_table"]["duplicates"] == 20
    account.assert_settled()


def test_visibility_that_ends_while_the_database_is_slow_gives_no_second_row(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    """The messages of a run that waits for a lock are delivered to another run, which waits behind it."""
    account.send(10)
    pipeline = account.pipeline
    with (
        ExitStack() as until_the_end,
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=1)),
        loading(pipeline, sqs_proxy) as first,
    ):
        time.sleep(1)
        second = until_the_end.enter_context(background_run(pipeline))
        wait_for(pipeline.database, WAITING_LOADS, 2)
    loaded = [run.result().metadata["user_logins_table"]["loaded"] for run in (first, second)]
    assert sorted(loaded) == [0, 10]
    time.sleep(1)
    account.drain()
    account.assert_settled()


# Partial and stale deletes


def test_message_that_cannot_be_deleted_is_released_and_gets_no_second_row(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    """One by SQS's fault, however often it is tried, and one of each batch by ours."""
    account.send(20)
    with (
        sqs_proxy.breaking("DeleteMessageBatch", entry_fails("ReceiptHandleIsInvalid", senders_fault=True)),
        sqs_proxy.breaking(
            "DeleteMessageBatch", entry_fails("InternalError", senders_fault=False), times=1 + len(PAUSES)
        ),
    ):
        run = account.pipeline.run()
    assert run.failures == []
    assert run.metadata["user_logins_table"]["deleted"] == 17
    account.assert_nothing_is_lost()
    assert len(account.on_queue()) == 3
    account.drain()
    account.assert_settled()


def test_receipt_handles_that_are_all_stale_fail_the_run_and_give_no_second_row(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(20)
    with sqs_proxy.breaking("DeleteMessageBatch", with_request(ReceiptHandle="stale")):
        sentence = one_sentence(account.pipeline.run())
    assert sentence.startswith("SQS deleted none of 20 loaded messages (ReceiptHandleIsInvalid)")
    account.assert_nothing_is_lost()
    account.drain()
    account.assert_settled()


def test_dead_letter_that_sqs_refuses_stays_on_the_queue(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5, malformed=3)
    with sqs_proxy.breaking("SendMessageBatch", entry_fails("InternalError", senders_fault=False)):
        assert one_sentence(account.pipeline.run()).startswith("1 messages could not be moved to the dead-letter queue")
    account.assert_nothing_is_lost()
    assert len(account.rows()) == 5
    account.drain()
    account.assert_settled()


def test_dead_letter_whose_answer_is_lost_is_sent_again_under_its_first_id(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(5, malformed=3)
    with sqs_proxy.breaking("SendMessageBatch", cut_after, times=1):
        assert account.pipeline.run().failures == []
    account.assert_settled(letters_twice=True)


# Answers that confirm nothing


@pytest.mark.parametrize("fault", UNCONFIRMED.values(), ids=UNCONFIRMED)
def test_entry_that_sqs_does_not_confirm_is_not_done(
    account: Account, sqs_proxy: SqsProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.batches.PAUSES", (0, 0))
    account.send(2)
    queues = LoginQueues(read_settings())
    handles = [message.receipt_handle for message in queues.receive().messages]
    with ExitStack() as faults:
        for action in ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
            faults.enter_context(sqs_proxy.breaking(action, fault))
        assert queues.dead_letter_queue.send([{"MessageBody": "a"}] * 2) == {0: "NotConfirmed", 1: "NotConfirmed"}
        assert queues.login_queue.delete(handles) == {"NotConfirmed": 2}
        assert queues.release() == (2, {"NotConfirmed": 2})


def test_dead_letter_that_sqs_does_not_confirm_stays_on_the_queue(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5, malformed=3)
    with sqs_proxy.breaking("SendMessageBatch", answered(b"")):
        sentence = one_sentence(account.pipeline.run())
    assert sentence.startswith("3 messages could not be moved to the dead-letter queue (NotConfirmed)")
    assert account.pipeline.database.query("SELECT count(*) FROM user_logins_dead_letters") == [(0,)]
    account.assert_nothing_is_lost()
    account.drain()
    account.assert_settled()


def test_entry_that_is_confirmed_at_the_second_try_is_not_noticed(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5, malformed=3)
    with ExitStack() as faults:
        for action in ("SendMessageBatch", "DeleteMessageBatch"):
            faults.enter_context(sqs_proxy.breaking(action, answered({}), times=2))
        assert account.pipeline.run().failures == []
    account.assert_settled()


def test_redriven_message_that_sqs_does_not_confirm_stays_on_the_dead_letter_queue(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(0, malformed=3)
    account.drain()
    with sqs_proxy.breaking("SendMessageBatch", answered(b"")):
        done = redrive(read_settings(), None, dry_run=False)
    assert (done.sent_back, done.not_sent) == (0, {"NotConfirmed": 3})
    account.assert_settled()


def test_count_that_sqs_does_not_say_is_an_error_and_not_zero(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5)
    says = r"SQS did not say ApproximateNumberOfMessages of .* LOGIN_QUEUE_URL"
    for response in ({"Attributes": {"ApproximateNumberOfMessages": "many"}}, b"", {}):
        fault = answered(response)
        with sqs_proxy.breaking("GetQueueAttributes", fault), pytest.raises(QueueError, match=says):
            LoginQueues(read_settings()).login_queue.depth()
    with sqs_proxy.breaking("GetQueueAttributes", answered({})):
        assert one_sentence(account.pipeline.run()).startswith("SQS did not say QueueArn of")
    assert sqs_proxy.calls["ReceiveMessage"] == 0


def test_response_that_is_not_one_of_sqs_is_one_sentence_and_costs_no_other(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(30)
    for response in (b"[1, 2]", b'{"Messages": [{"MessageId": 7}]}'):
        fault = answered(response)
        with sqs_proxy.breaking("ReceiveMessage", fault), pytest.raises(QueueError, match="What responds to Receive"):
            LoginQueues(read_settings()).receive()
    with sqs_proxy.breaking("ReceiveMessage", Some(fault, first=1, times=2)):
        assert account.pipeline.run().failures == []
    account.drain()
    account.assert_settled()


# A line that no call can hold


def test_only_line_of_a_file_that_is_too_long_is_refused_as_a_line(account: Account, sqs_proxy: SqsProxy) -> None:
    with sqs_proxy.breaking("SendMessageBatch", TOO_LONG):
        sent = send_lines(LoginQueues(read_settings()).login_queue, [b"a very long line"])
    assert sent.refused == {1: "SQS refused it (BatchRequestTooLong)"}


def test_line_that_is_too_long_costs_its_neighbours_nothing(account: Account, sqs_proxy: SqsProxy) -> None:
    too_long_together = Some(TOO_LONG, first=0, times=2)  # the call with all three, and that with the first alone
    with sqs_proxy.breaking("SendMessageBatch", too_long_together):
        sent = send_lines(LoginQueues(read_settings()).login_queue, [b"a very long line", b"a line", b"another line"])
    assert (sent.messages, list(sent.refused)) == (2, [1])


# Refusals and silence that pass


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_refusal_that_passes_is_not_noticed(account: Account, sqs_proxy: SqsProxy, fault: Fault) -> None:
    pipeline, queues = account.pipeline, LoginQueues(read_settings())
    with ExitStack() as faults:
        for action in ACTIONS:
            faults.enter_context(sqs_proxy.breaking(action, fault, times=2))
        assert queues.login_queue.send([{"MessageBody": "a"}] * 6) == {}
        assert queues.login_queue.depth().visible == 6
        _, *others = queues.receive().messages
        assert queues.login_queue.delete([message.receipt_handle for message in others]) == {}
        assert queues.release() == (1, {})
    assert (len(others), pipeline.queue.depth()) == (5, (1, 0))


def test_slow_queue_is_drained(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(20, malformed=3)
    with sqs_proxy.breaking("*", after_seconds(0.1)):
        assert account.pipeline.run().failures == []
    account.assert_settled()


def test_call_that_is_never_answered_is_given_up_and_made_again(
    account: Account, sqs_proxy: SqsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a firewall that forgot the connection: open on our side, and silent."""
    monkeypatch.setattr("login_pipeline.sqs.transport.client.READ_SECONDS", 1)
    account.send(5)
    silence, started = Hold(), time.monotonic()
    with sqs_proxy.breaking("ReceiveMessage", silence, times=1):
        assert account.pipeline.run().failures == []
        assert time.monotonic() - started < 45  # the silence lasts for 60
        silence.let_go()
    account.assert_settled()


def test_delete_whose_answer_is_lost_gives_no_second_row(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(20, malformed=3)
    with sqs_proxy.breaking("DeleteMessageBatch", cut_after, times=3):
        account.pipeline.run()
    account.drain()
    account.assert_settled()


def test_messages_whose_delivery_is_lost_come_back_with_their_visibility(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(20)
    with (
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=1)),
        sqs_proxy.breaking("ReceiveMessage", cut_after, times=1),
    ):
        account.pipeline.run()
    time.sleep(1)
    account.drain()
    account.assert_settled()


# Refusals that last


# With the class of the error, which decides the exit code of a command.
REFUSALS = [
    (THROTTLED, QueueError, "(RequestThrottled)"),
    (RATE_EXCEEDED, QueueError, "(Throttling)"),
    (UNAVAILABLE, QueueError, "(ServiceUnavailable)"),
    (OVER_LIMIT, QueueError, "as many messages in flight as it may have"),
    (ACCESS_DENIED, ConfigurationError, "may not call sqs:ReceiveMessage"),
    (EXPIRED_TOKEN, ConfigurationError, "does not accept the credentials (ExpiredToken)"),
    (NO_SUCH_QUEUE, ConfigurationError, "LOGIN_QUEUE_URL names a queue that does not exist"),
    (cut_before, ConfigurationError, "SQS does not answer at"),
]


def test_queue_that_delivers_nothing_fails_the_run_and_costs_nothing(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5)
    queues = LoginQueues(read_settings())
    queues.check()  # so that libcurl makes the next call
    for fault, kind, words in REFUSALS:
        with sqs_proxy.breaking("ReceiveMessage", fault), pytest.raises(kind, match=re.escape(words)):
            queues.receive()
    with sqs_proxy.breaking("ReceiveMessage", ACCESS_DENIED):
        assert "may not call sqs:ReceiveMessage" in one_sentence(account.pipeline.run())
    account.assert_nothing_is_lost()
    account.drain()
    account.assert_settled()


def test_refusal_after_the_first_messages_keeps_what_is_in_hand(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(30, malformed=3)
    answered = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", answered, times=1), background_run(account.pipeline) as run:
        answered.wait()
        with sqs_proxy.breaking("ReceiveMessage", ACCESS_DENIED):
            answered.let_go()
            failures = run.result().failures
    assert failures == []
    account.assert_nothing_is_lost()
    assert len(account.rows()) + len(account.letters()) == 10
    account.drain()
    account.assert_settled()


def test_access_that_is_revoked_between_load_and_delete_gives_no_second_row(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(20)
    for fault in (ACCESS_DENIED, cut_before):
        with sqs_proxy.breaking("DeleteMessageBatch", fault):
            assert one_sentence(account.pipeline.run()).startswith("SQS deleted none of 20 loaded messages")
    account.assert_nothing_is_lost()
    (run,) = account.drain()
    assert run.metadata["user_logins_table"]["duplicates"] == 20
    account.assert_settled()


def test_queue_that_is_deleted_during_a_run_loads_what_was_received(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(10)
    queue = account.pipeline.queue
    with received(account.pipeline, sqs_proxy) as run:
        queue.client.delete_queue(QueueUrl=queue.url)
    sentence = one_sentence(run.result())
    assert "NonExistentQueue" in sentence
    assert "check LOGIN_QUEUE_URL" in sentence
    assert account.rows() == dict.fromkeys(account.logins, 1)
    assert "LOGIN_QUEUE_URL names a queue that does not exist" in one_sentence(account.pipeline.run())


def test_dead_letter_queue_that_is_deleted_during_a_run_costs_no_login(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(10, malformed=3)
    letters = account.pipeline.dead_letter_queue
    with received(account.pipeline, sqs_proxy) as run:
        letters.client.delete_queue(QueueUrl=letters.url)
    sentence = one_sentence(run.result())
    assert "NonExistentQueue" in sentence
    assert "check LOGIN_DEAD_LETTER_QUEUE_URL" in sentence
    assert len(account.rows()) == 10
    assert len(account.on_queue()) == 3


def test_release_that_is_refused_leaves_the_messages_to_their_timeout(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5)
    with (
        sqs_proxy.breaking("ReceiveMessage", with_request(VisibilityTimeout=1)),
        sqs_proxy.breaking("DeleteMessageBatch", ACCESS_DENIED),
        sqs_proxy.breaking("ChangeMessageVisibilityBatch", ACCESS_DENIED),
    ):
        one_sentence(account.pipeline.run())
    time.sleep(1)
    account.drain()
    account.assert_settled()


@pytest.mark.timeout(60)  # what Dagster gives a tick
def test_queue_that_is_silent_during_a_tick_is_a_skip_with_its_reason(
    account: Account, sqs_proxy: SqsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends within a tick's 60 seconds."""
    assert sensors.ATTEMPTS * sensors.ANSWER_SECONDS < 45
    monkeypatch.setattr(sensors, "ANSWER_SECONDS", 1)
    silence = Hold()
    with sqs_proxy.breaking("GetQueueAttributes", silence):
        result = tick(account.pipeline)
        silence.let_go()
    assert skip_reason(result).startswith("SQS does not answer at")
    assert sqs_proxy.calls["GetQueueAttributes"] == sensors.ATTEMPTS


# A queue whose redrive policy moves messages away after three deliveries


@pytest.fixture
def redriven(account: Account) -> Queue:
    """Where SQS itself moves what was delivered too often."""
    client = account.pipeline.queue.client
    redriven = Queue(client, client.create_queue(QueueName=f"redriven-{uuid.uuid4()}")["QueueUrl"])
    arn = client.get_queue_attributes(QueueUrl=redriven.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    client.set_queue_attributes(QueueUrl=account.pipeline.queue.url, Attributes={"RedrivePolicy": policy})
    return redriven


def test_database_that_is_down_or_breaks_costs_no_delivery_of_the_few(
    account: Account, redriven: Queue, tcp_proxy: TcpProxy
) -> None:
    account.send(10)
    tcp_proxy.accepting = False
    for _ in range(4):
        assert "LOGIN_DATABASE_URL cannot be used" in one_sentence(account.pipeline.run())
    tcp_proxy.heal()
    tcp_proxy.at_commit(DatabaseFault.COMMIT_LOST, times=2)
    run = account.pipeline.run()
    assert run.failures == []
    assert run.metadata["raw_sqs_messages"]["delivered_before"] == 0
    assert redriven.count() == 0
    account.assert_settled()


def test_load_that_is_slow_has_its_rows_before_the_deliveries_are_used_up(
    account: Account, redriven: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four seconds for a load that takes six."""
    pipeline = account.pipeline
    pipeline.run()
    pipeline.set(LOGIN_VISIBILITY_TIMEOUT=30)
    monkeypatch.setattr("login_pipeline.sqs.login_queues.LOAD_DEADLINE_FRACTION", 4 / 30)
    pipeline.database.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    account.send(40)
    first = pipeline.run()
    assert 0 < first.metadata["user_logins_table"]["loaded"] < 40
    account.drain()
    assert redriven.count() == 0
    account.assert_settled()
