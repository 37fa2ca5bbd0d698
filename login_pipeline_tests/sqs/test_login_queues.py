"""The SQS resource against a real queue, and its batch calls against every answer that SQS can give."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from login_pipeline.errors import ConfigurationError, QueueError, RunError
from login_pipeline.settings import SqsClient
from login_pipeline.sqs import batches as sqs_batches
from login_pipeline.sqs.batches import call_in_batches, packed
from login_pipeline.sqs.concurrency import Concurrency
from login_pipeline.sqs.login_queues import LoginQueueResource
from login_pipeline.sqs.message import Message
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline.sqs.receive import receive_batch
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.fixture
def resource(each_sqs_client: SqsClient) -> LoginQueueResource:
    """By each client in turn."""
    return LoginQueueResource()


def test_every_message_is_received_once_by_many_threads(pipeline: Pipeline, resource: LoginQueueResource) -> None:
    ids = pipeline.queue.send(*(f"body {n}" for n in range(57)))
    batch = resource.receive()
    assert sorted(message.message_id for message in batch.messages) == sorted(ids)
    assert batch.ran_dry
    assert resource.depth() == QueueDepth(visible=0, in_flight=57, delayed=0)


def test_received_messages_are_hidden_for_our_time_and_not_the_queue_s(
    pipeline: Pipeline, resource: LoginQueueResource
) -> None:
    pipeline.queue.client.set_queue_attributes(QueueUrl=pipeline.queue.url, Attributes={"VisibilityTimeout": "1"})
    pipeline.queue.send("body")
    assert len(resource.receive().messages) == 1
    time.sleep(2)
    assert resource.depth() == QueueDepth(visible=0, in_flight=1, delayed=0)


def test_queue_under_another_name_is_no_dead_letter_queue(pipeline: Pipeline) -> None:
    pipeline.set(LOGIN_DEAD_LETTER_QUEUE_URL=pipeline.queue.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ConfigurationError, match="names the same queue as LOGIN_QUEUE_URL"):
        LoginQueueResource().check()


def test_deleted_messages_are_gone(pipeline: Pipeline, resource: LoginQueueResource) -> None:
    pipeline.queue.send(*(f"body {n}" for n in range(23)))
    assert resource.delete(message.receipt_handle for message in resource.receive().messages) == {}
    assert pipeline.queue.count() == 0


def test_receipt_handles_that_sqs_does_not_know_are_counted_by_code(
    pipeline: Pipeline, resource: LoginQueueResource
) -> None:
    pipeline.queue.send("body")
    handles = [message.receipt_handle for message in resource.receive().messages]
    assert sum(resource.delete([*handles, "no-such-handle"]).values()) == 1
    assert pipeline.queue.count() == 0


def test_what_could_not_be_deleted_is_counted(pipeline: Pipeline, resource: LoginQueueResource) -> None:
    assert sum(resource.delete(["no-such-handle", "nor-this"]).values()) == 2


def test_what_is_still_in_hand_is_handed_back(
    pipeline: Pipeline, resource: LoginQueueResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.login_queues.HAND_BACK_DELAY", 0)
    pipeline.queue.send(*(f"body {n}" for n in range(12)))
    received = resource.receive().messages
    resource.delete(message.receipt_handle for message in received[:5])
    resource.hand_back()
    assert resource.depth() == QueueDepth(visible=7, in_flight=0, delayed=0)


def test_run_that_outlasts_its_messages_loads_nothing(
    pipeline: Pipeline, resource: LoginQueueResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.send("body")
    resource.receive()
    assert 0 < resource.seconds_to_load() < 900
    monkeypatch.setattr("login_pipeline.sqs.login_queues.time.monotonic", lambda: float("inf"))
    with pytest.raises(RunError, match="what is not loaded yet goes back to the queue"):
        resource.seconds_to_load()


def test_bodies_are_sent_exactly_as_they_are(pipeline: Pipeline, resource: LoginQueueResource) -> None:
    bodies = [' {"a":  1}', "ünïcode", "not json", "x" * 200_000, "y" * 200_000]
    assert resource.login_queue.send([{"MessageBody": body} for body in bodies]) == {}
    assert sorted(message["Body"] for message in pipeline.queue.take_all()) == sorted(bodies)


def test_body_that_sqs_refuses_does_not_cost_its_neighbours(pipeline: Pipeline, resource: LoginQueueResource) -> None:
    bodies = ["good", "x" * 2_000_000, "good too"]
    assert list(resource.login_queue.send([{"MessageBody": body} for body in bodies])) == [1]
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
        ({"AWS_ENDPOINT_URL_SQS": "localhost:4566"}, "AWS_ENDPOINT_URL_SQS is not the URL of an SQS endpoint"),
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
        LoginQueueResource(max_attempts=1).check()
    assert "\n" not in error.value.sentence


@pytest.mark.parametrize("setting", ["LOGIN_QUEUE_URL", "LOGIN_DEAD_LETTER_QUEUE_URL"])
def test_queue_that_does_not_exist_is_named_with_its_setting(pipeline: Pipeline, setting: str) -> None:
    url = pipeline.environment[setting] + "-not-there"
    pipeline.set(**{setting: url})
    with pytest.raises(ConfigurationError, match=f"{setting} names a queue that does not exist: {url}"):
        LoginQueueResource().check()


def refuse(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "secret body"}}, "SendMessageBatch")


class ScriptedCalls:
    """Answers batch calls from a script: no real server refuses on demand."""

    def __init__(self, *answers: Mapping[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []

    def __call__(self, entries: Sequence[Any]) -> Mapping[str, Any]:
        self.calls.append([entry["Id"] for entry in entries])
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return confirming(entries, answer)


def confirming(entries: Sequence[Any], answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The answer, in which every entry has succeeded that has not failed."""
    failed = [failure["Id"] for failure in (answer or {}).get("Failed", ())]
    return {**(answer or {}), "Successful": [{"Id": each["Id"]} for each in entries if each["Id"] not in failed]}


def entries(count: int) -> list[dict[str, Any]]:
    return [{"Id": str(number)} for number in range(count)]


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs_batches, "PAUSES", (0, 0))


def failed(ident: str, *, senders_fault: bool) -> dict[str, Any]:
    return {"Id": ident, "Code": "Code", "SenderFault": senders_fault}


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_failed_by_sqs_s_fault_is_tried_again_alone() -> None:
    calls = ScriptedCalls({"Failed": [failed("1", senders_fault=False)]})
    assert call_in_batches(calls, entries(3), concurrency=Concurrency(1)) == {}
    assert calls.calls == [["0", "1", "2"], ["1"]]


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_keeps_failing_is_given_up_with_its_code() -> None:
    calls = ScriptedCalls(*[{"Failed": [failed("1", senders_fault=False)]}] * 9)
    assert call_in_batches(calls, entries(3), concurrency=Concurrency(1)) == {"1": "Code"}
    assert len(calls.calls) == 3


def test_entry_that_failed_by_our_fault_is_not_tried_again() -> None:
    calls = ScriptedCalls({"Failed": [failed("1", senders_fault=True)]})
    assert call_in_batches(calls, entries(3), concurrency=Concurrency(1)) == {"1": "Code"}
    assert len(calls.calls) == 1


def test_call_that_is_refused_for_one_entry_is_made_for_each_alone() -> None:
    code = "InvalidMessageContents"
    calls = ScriptedCalls(refuse(code), {}, refuse(code), {})
    assert call_in_batches(calls, entries(3), concurrency=Concurrency(1)) == {"1": code}


def test_call_that_fails_costs_its_own_entries_only() -> None:
    unreachable = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    calls = ScriptedCalls({}, unreachable)
    assert call_in_batches(calls, entries(12), concurrency=Concurrency(1)) == dict.fromkeys(
        ("10", "11"), "EndpointConnectionError"
    )


def test_no_call_is_made_any_more_in_a_hurry() -> None:
    hurry = threading.Event()
    calls: list[str] = []

    def call(batch: Sequence[Any]) -> dict[str, Any]:
        calls.append(batch[0]["Id"])
        hurry.set()
        return confirming(batch)

    together = Concurrency(16, by_one_thread=16)  # which libcurl cannot make, so each is made alone
    left = call_in_batches(call, entries(30), concurrency=together, hurry=hurry)
    assert len(calls) == 1
    assert left == {str(number): "NotCalled" for number in range(10, 30)}


def test_calls_are_made_at_once() -> None:
    together = threading.Barrier(4, timeout=10)

    def call(batch: Sequence[Any]) -> dict[str, Any]:
        together.wait()
        return confirming(batch)

    assert call_in_batches(call, entries(40), concurrency=Concurrency(4)) == {}


def test_batches_hold_ten_entries_and_256_kib() -> None:
    small = [{"Id": str(n), "MessageBody": "x"} for n in range(21)]
    assert [len(batch) for batch in packed(small)] == [10, 10, 1]
    large = [{"Id": str(n), "MessageBody": "ü" * 50_000} for n in range(5)]
    assert [len(batch) for batch in packed(large)] == [2, 2, 1]
    binary = {"a": {"DataType": "Binary", "BinaryValue": b"x" * 100_000}}
    entries_with_bytes = [{"Id": str(n), "MessageBody": "x", "MessageAttributes": binary} for n in range(5)]
    assert [len(batch) for batch in packed(entries_with_bytes)] == [2, 2, 1]


def message(number: int, receipt_handle: str = "handle") -> Message:
    return Message(f"id-{number}", f"id-{number}", receipt_handle, 0, 1, "body")


class ScriptedPolls:
    """What polls bring, one list of answers for each time that they are made; nothing any more after the last."""

    def __init__(self, *answers: list[list[Message]]) -> None:
        self._answers = list(answers)
        self.at_once: list[int] = []
        """How many were made, each time."""

    def __call__(self, sizes: Sequence[int]) -> list[list[Message]]:
        self.at_once.append(len(sizes))
        return self._answers.pop(0) if self._answers else [[] for _ in sizes]

    @property
    def polls(self) -> int:
        return sum(self.at_once)


def test_message_that_came_twice_is_kept_once_with_its_newest_receipt_handle() -> None:
    receive = ScriptedPolls([[message(1, "old"), message(2)]], [[message(1, "new")]])
    batch = receive_batch(receive, batch_size=100, concurrency=Concurrency(1), deadline=5)
    assert sorted((each.message_id, each.receipt_handle) for each in batch.messages) == [
        ("id-1", "new"),
        ("id-2", "handle"),
    ]


def test_long_polls_are_made_at_once() -> None:
    together = threading.Barrier(4, timeout=10)
    numbers = iter(range(1000))

    def receive(_: Sequence[int]) -> list[list[Message]]:
        number = next(numbers)
        if 1 <= number <= 4:
            together.wait()  # raises when the other three do not come
        return [[message(number)] if number <= 4 else []]

    assert len(receive_batch(receive, batch_size=100, concurrency=Concurrency(4), deadline=5).messages) == 5


def test_error_after_the_first_messages_ends_the_receiving_and_keeps_them() -> None:
    def receive(_: Sequence[int]) -> list[list[Message]]:
        if receive_calls.pop():
            raise QueueError("gone")
        return [[message(1)]]

    receive_calls = [True, False]
    batch = receive_batch(receive, batch_size=11, concurrency=Concurrency(1), deadline=5)
    assert len(batch.messages) == 1
    assert not batch.ran_dry


@pytest.mark.parametrize("empty_polls", [1, 2])
def test_a_few_empty_polls_are_not_believed(empty_polls: int) -> None:
    nothing: list[list[Message]] = [[]]
    receive = ScriptedPolls(*[nothing] * empty_polls, [[message(1)]])
    batch = receive_batch(receive, batch_size=10, concurrency=Concurrency(1), deadline=5)
    assert len(batch.messages) == 1
    assert batch.ran_dry
    assert receive.polls == empty_polls + 1 + 3


def test_polls_that_prove_the_queue_empty_are_made_at_once() -> None:
    receive = ScriptedPolls()
    assert receive_batch(receive, batch_size=100, concurrency=Concurrency(16, by_one_thread=16), deadline=5).ran_dry
    assert receive.at_once == [1, 2]


def test_polls_that_wait_in_vain_beside_others_prove_the_queue_empty() -> None:
    receive = ScriptedPolls([[message(1)]], [[message(2)], [], [], []])
    batch = receive_batch(receive, batch_size=100, concurrency=Concurrency(16, by_one_thread=16), deadline=5)
    assert len(batch.messages) == 2
    assert batch.ran_dry
    assert len(receive.at_once) == 2


def test_messages_after_empty_polls_start_the_proof_anew() -> None:
    receive = ScriptedPolls([[message(1)]], [[], []], [[message(2)]])
    batch = receive_batch(receive, batch_size=100, concurrency=Concurrency(4, by_one_thread=4), deadline=5)
    assert len(batch.messages) == 2
    assert receive.at_once == [1, 4, 1, 4]


def test_receiving_ends_at_its_deadline() -> None:
    batch = receive_batch(lambda _: [[message(1)]], batch_size=10_000, concurrency=Concurrency(2), deadline=0)
    assert len(batch.messages) == 1
    assert not batch.ran_dry


@pytest.mark.usefixtures("_no_pauses")
def test_entry_that_fails_by_sqs_s_fault_when_its_call_is_made_alone_is_not_taken_for_done() -> None:
    passing = {"Failed": [failed("1", senders_fault=False)]}
    calls = ScriptedCalls(refuse("InvalidParameterValue"), {}, *[passing] * 9)
    assert call_in_batches(calls, entries(2), concurrency=Concurrency(1)) == {"1": "Code"}
    calls = ScriptedCalls(refuse("InvalidParameterValue"), {}, passing, {})
    assert call_in_batches(calls, entries(2), concurrency=Concurrency(1)) == {}
