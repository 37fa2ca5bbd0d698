"""The SQS resource against a real queue, and its batch calls against every answer that SQS can give."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from login_pipeline.errors import ConfigurationError, QueueError, RunError
from login_pipeline.settings import read_settings
from login_pipeline.sqs import batches as sqs_batches
from login_pipeline.sqs import queue as sqs_queue
from login_pipeline.sqs.batches import call_in_batches, packed
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import Message
from login_pipeline.sqs.queue import LONG_POLL_SECONDS, QueueDepth
from login_pipeline.sqs.receive import Batch, receive_batch
from login_pipeline.sqs.transport.client import BatchResponse, CallError, ClientOptions, EntryResult
from login_pipeline.sqs.worker_pool import WorkerPool
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.fixture
def queues(pipeline: Pipeline) -> LoginQueues:
    return LoginQueues(read_settings())


def test_every_message_is_received_once_and_hidden_for_our_time_and_not_the_queue_s(
    pipeline: Pipeline, queues: LoginQueues
) -> None:
    pipeline.queue.client.set_queue_attributes(QueueUrl=pipeline.queue.url, Attributes={"VisibilityTimeout": "0"})
    ids = pipeline.queue.send(*(f"body {n}" for n in range(57)))
    batch = queues.receive()
    assert sorted(message.message_id for message in batch.messages) == sorted(ids)
    assert batch.ran_dry
    assert queues.login_queue.depth() == QueueDepth(visible=0, in_flight=57, delayed=0)


def test_message_that_is_sent_while_a_receive_waits_is_received(
    pipeline: Pipeline, queues: LoginQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs_queue, "LONG_POLL_SECONDS", LONG_POLL_SECONDS)  # as it was before the fixture
    threading.Timer(0.3, pipeline.queue.send, ["late"]).start()
    assert [message.body for message in queues.receive().messages] == ["late"]


def test_queue_under_another_name_is_no_dead_letter_queue(pipeline: Pipeline) -> None:
    pipeline.set(LOGIN_DEAD_LETTER_QUEUE_URL=pipeline.queue.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ConfigurationError, match="names the same queue as LOGIN_QUEUE_URL"):
        LoginQueues(read_settings()).check()


def test_deleted_messages_are_gone_and_what_could_not_be_deleted_is_counted_by_code(
    pipeline: Pipeline, queues: LoginQueues
) -> None:
    pipeline.queue.send(*(f"body {n}" for n in range(23)))
    handles = [message.receipt_handle for message in queues.receive().messages]
    assert queues.login_queue.delete(["no-such-handle", *handles, "nor-this"]) == {"ReceiptHandleIsInvalid": 2}
    assert pipeline.queue.count() == 0


def test_what_is_still_held_is_released(
    pipeline: Pipeline, queues: LoginQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    pipeline.queue.send(*(f"body {n}" for n in range(12)))
    received = queues.receive().messages
    queues.login_queue.delete(message.receipt_handle for message in received[:5])
    queues.release()
    assert queues.login_queue.depth() == QueueDepth(visible=7, in_flight=0, delayed=0)


def test_run_that_outlasts_its_messages_loads_nothing(
    pipeline: Pipeline, queues: LoginQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.send("body")
    queues.receive()
    assert 0 < queues.seconds_to_load() < 900
    monkeypatch.setattr("login_pipeline.sqs.login_queues.time.monotonic", lambda: float("inf"))
    with pytest.raises(RunError, match="what is not loaded yet goes back to the queue"):
        queues.seconds_to_load()


def test_bodies_are_sent_exactly_as_they_are(pipeline: Pipeline, queues: LoginQueues) -> None:
    bodies = [' {"a":  1}', "ünïcode", "not json", "x" * 200_000, "y" * 200_000]
    assert queues.login_queue.send([{"MessageBody": body} for body in bodies]) == {}
    assert sorted(message["Body"] for message in pipeline.queue.take_all()) == sorted(bodies)


def test_body_that_sqs_refuses_does_not_cost_its_neighbours(pipeline: Pipeline, queues: LoginQueues) -> None:
    bodies = ["good", "x" * 2_000_000, "good too"]
    assert list(queues.login_queue.send([{"MessageBody": body} for body in bodies])) == [1]
    assert sorted(message["Body"] for message in pipeline.queue.take_all()) == ["good", "good too"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"LOGIN_QUEUE_URL": None}, "LOGIN_QUEUE_URL is not set"),
        ({"LOGIN_DEAD_LETTER_QUEUE_URL": None}, "LOGIN_DEAD_LETTER_QUEUE_URL is not set"),
        ({"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": None}, "AWS_PROFILE names a profile that"),
        ({"AWS_REGION": None}, "AWS_REGION is not set"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"},
            "No AWS credentials were found",
        ),
        ({"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}, "SQS does not answer at http://127.0.0.1:9"),
        (
            {"AWS_ENDPOINT_URL_SQS": "localhost:4566"},
            "AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL is not the URL of an endpoint",
        ),
        ({"AWS_REGION": "no/where"}, "AWS_REGION is not the name of a region"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "The AWS SDK cannot call SQS"),
    ],
)
def test_wrong_configuration_is_one_sentence(
    pipeline: Pipeline, settings: dict[str, str | None], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    pipeline.set(**settings)
    with pytest.raises(ConfigurationError, match=sentence) as error:
        LoginQueues(read_settings(), ClientOptions(max_attempts=1)).check()
    assert "\n" not in error.value.sentence


@pytest.mark.parametrize("setting", ["LOGIN_QUEUE_URL", "LOGIN_DEAD_LETTER_QUEUE_URL"])
def test_queue_that_does_not_exist_is_named_with_its_setting(pipeline: Pipeline, setting: str) -> None:
    url = pipeline.environment[setting] + "-not-there"
    pipeline.set(**{setting: url})
    with pytest.raises(ConfigurationError, match=f"{setting} names a queue that does not exist: {url}"):
        LoginQueues(read_settings()).check()


def refuse(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "secret body"}}, "SendMessageBatch")


class ScriptedCalls:
    """Answers batch calls from a script: no real server refuses on demand."""

    def __init__(self, *outcomes: EntryResult | CallError | None) -> None:
        self._outcomes = list(outcomes)
        self.calls: list[list[str]] = []

    def __call__(self, batches: Sequence[Sequence[Any]]) -> list[BatchResponse | CallError]:
        return [self._outcome(batch) for batch in batches]

    def _outcome(self, entries: Sequence[Any]) -> BatchResponse | CallError:
        self.calls.append([entry["Id"] for entry in entries])
        outcome = self._outcomes.pop(0) if self._outcomes else None
        return confirming(entries, outcome) if outcome is None or isinstance(outcome, EntryResult) else outcome


def confirming(entries: Sequence[Any], failure: EntryResult | None = None) -> BatchResponse:
    """The response in which every entry has succeeded that has not failed."""
    successes = [EntryResult(each["Id"]) for each in entries if failure is None or each["Id"] != failure.id]
    return BatchResponse(successes, [failure] if failure else [])


def entries(count: int) -> list[dict[str, Any]]:
    return [{"Id": str(number)} for number in range(count)]


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs_batches, "PAUSES", (0, 0))


def failed(ident: str, *, senders_fault: bool) -> EntryResult:
    return EntryResult(ident, "Code", senders_fault)


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_failed_by_sqs_s_fault_is_tried_again_alone() -> None:
    calls = ScriptedCalls(failed("1", senders_fault=False))
    assert call_in_batches(calls, entries(3), workers=WorkerPool(1)) == {}
    assert calls.calls == [["0", "1", "2"], ["1"]]


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_keeps_failing_is_given_up_with_its_code() -> None:
    calls = ScriptedCalls(*[failed("1", senders_fault=False)] * 9)
    assert call_in_batches(calls, entries(3), workers=WorkerPool(1)) == {"1": "Code"}
    assert len(calls.calls) == 3


def test_entry_that_failed_by_our_fault_is_not_tried_again() -> None:
    calls = ScriptedCalls(failed("1", senders_fault=True))
    assert call_in_batches(calls, entries(3), workers=WorkerPool(1)) == {"1": "Code"}
    assert len(calls.calls) == 1


def test_call_that_is_refused_for_one_entry_is_made_for_each_alone() -> None:
    code = "InvalidMessageContents"
    calls = ScriptedCalls(refuse(code), None, refuse(code), None)
    assert call_in_batches(calls, entries(3), workers=WorkerPool(1)) == {"1": code}


def test_call_that_fails_costs_its_own_entries_only() -> None:
    unreachable = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    calls = ScriptedCalls(None, unreachable)
    assert call_in_batches(calls, entries(12), workers=WorkerPool(1)) == dict.fromkeys(
        ("10", "11"), "EndpointConnectionError"
    )


def test_no_call_is_made_once_it_is_to_stop() -> None:
    stop = threading.Event()
    calls = ScriptedCalls()

    def call_many(batches: Sequence[Sequence[Any]]) -> list[BatchResponse | CallError]:
        stop.set()
        return calls(batches)

    left = call_in_batches(call_many, entries(40), workers=WorkerPool(2), stop=stop)
    assert len(calls.calls) == 2
    assert left == {str(number): "NotAttempted" for number in range(20, 40)}


def test_batches_hold_ten_entries_and_256_kib() -> None:
    small = [{"Id": str(n), "MessageBody": "x"} for n in range(21)]
    assert [len(batch) for batch in packed(small)] == [10, 10, 1]
    large = [{"Id": str(n), "MessageBody": "ü" * 50_000} for n in range(5)]
    assert [len(batch) for batch in packed(large)] == [2, 2, 1]
    binary = {"a": {"DataType": "Binary", "BinaryValue": b"x" * 100_000}}
    entries_with_bytes = [{"Id": str(n), "MessageBody": "x", "MessageAttributes": binary} for n in range(5)]
    assert [len(batch) for batch in packed(entries_with_bytes)] == [2, 2, 1]


def message(number: int, receipt_handle: str = "handle") -> Message:
    return Message(f"id-{number}", f"id-{number}", receipt_handle, 0, 1, "body", "body")


class ScriptedPolls:
    """What polls bring, one list of answers for each time that they are made; nothing after the last."""

    def __init__(self, *answers: list[list[Message]]) -> None:
        self._answers = list(answers)
        # How many were made, each time.
        self.at_once: list[int] = []

    def __call__(self, sizes: Sequence[int]) -> list[list[Message]]:
        self.at_once.append(len(sizes))
        return self._answers.pop(0) if self._answers else [[] for _ in sizes]

    @property
    def polls(self) -> int:
        return sum(self.at_once)


def test_message_that_came_twice_is_kept_once_with_its_newest_receipt_handle() -> None:
    receive = ScriptedPolls([[message(1, "old"), message(2)]], [[message(1, "new")]])
    batch = receive_batch(receive, batch_size=100, workers=WorkerPool(1), deadline=5)
    assert sorted((each.message_id, each.receipt_handle) for each in batch.messages) == [
        ("id-1", "new"),
        ("id-2", "handle"),
    ]


def test_error_after_the_first_messages_ends_the_receiving_and_keeps_them() -> None:
    def receive(_: Sequence[int]) -> list[list[Message]]:
        if receive_calls.pop():
            raise QueueError("gone")
        return [[message(1)]]

    receive_calls = [True, False]
    batch = receive_batch(receive, batch_size=11, workers=WorkerPool(1), deadline=5)
    assert len(batch.messages) == 1
    assert not batch.ran_dry


@pytest.mark.parametrize("empty_polls", [1, 2])
def test_a_few_empty_polls_are_not_believed(empty_polls: int) -> None:
    nothing: list[list[Message]] = [[]]
    receive = ScriptedPolls(*[nothing] * empty_polls, [[message(1)]])
    batch = receive_batch(receive, batch_size=10, workers=WorkerPool(1), deadline=5)
    assert len(batch.messages) == 1
    assert batch.ran_dry
    assert receive.polls == empty_polls + 1 + 3


def test_polls_that_prove_the_queue_empty_are_made_at_once() -> None:
    receive = ScriptedPolls()
    assert receive_batch(receive, batch_size=100, workers=WorkerPool(16), deadline=5).ran_dry
    assert receive.at_once == [1, 2]


def test_polls_that_wait_in_vain_beside_others_prove_the_queue_empty() -> None:
    receive = ScriptedPolls([[message(1)]], [[message(2)], [], [], []])
    batch = receive_batch(receive, batch_size=100, workers=WorkerPool(16), deadline=5)
    assert len(batch.messages) == 2
    assert batch.ran_dry
    assert len(receive.at_once) == 2


def test_messages_after_empty_polls_start_the_proof_anew() -> None:
    receive = ScriptedPolls([[message(1)]], [[], []], [[message(2)]])
    batch = receive_batch(receive, batch_size=100, workers=WorkerPool(4), deadline=5)
    assert len(batch.messages) == 2
    assert receive.at_once == [1, 4, 1, 4]


def test_receiving_ends_at_its_deadline() -> None:
    batch = receive_batch(lambda _: [[message(1)]], batch_size=10_000, workers=WorkerPool(2), deadline=0)
    assert len(batch.messages) == 1
    assert not batch.ran_dry


@pytest.mark.parametrize(("visibility_timeout", "seconds"), [(30, 7.5), (900, 60)])
def test_receiving_takes_a_minute_or_a_quarter_of_the_visibility_timeout(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, visibility_timeout: int, seconds: float
) -> None:
    pipeline.set(LOGIN_VISIBILITY_TIMEOUT=visibility_timeout)
    deadlines: list[float] = []

    def receive(*_: object, deadline: float, **__: object) -> Batch:
        deadlines.append(deadline)
        return Batch([], ran_dry=True)

    monkeypatch.setattr(sqs_queue, "receive_batch", receive)
    LoginQueues(read_settings()).receive()
    assert deadlines == [seconds]


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_fails_by_sqs_s_fault_when_its_call_is_made_alone_is_not_taken_for_done() -> None:
    retryable = failed("1", senders_fault=False)
    calls = ScriptedCalls(refuse("InvalidParameterValue"), None, *[retryable] * 9)
    assert call_in_batches(calls, entries(2), workers=WorkerPool(1)) == {"1": "Code"}
    calls = ScriptedCalls(refuse("InvalidParameterValue"), None, retryable, None)
    assert call_in_batches(calls, entries(2), workers=WorkerPool(1)) == {}
