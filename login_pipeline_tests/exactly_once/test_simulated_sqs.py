"""The simulated SQS does as the real servers do: the same tests for all, where a real server can be asked."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from login_pipeline_tests.conftest import Queue
from login_pipeline_tests.exactly_once.simulated_sqs import QUEUE, SimulatedSqs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Server(NamedTuple):
    """A client, the URL of an empty queue, and what lets so many seconds pass."""

    client: "SQSClient | SimulatedSqs"
    url: str
    pass_time: Callable[[int], None]

    def send(self, *bodies: str, **attributes: Any) -> Any:
        entries: Any = [
            {"Id": str(number), "MessageBody": body, "MessageAttributes": attributes}
            for number, body in enumerate(bodies)
        ]
        return self.client.send_message_batch(QueueUrl=self.url, Entries=entries)

    def receive(self, visibility_timeout: int = 30) -> list[Any]:
        answer: Any = self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=visibility_timeout,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def delete(self, *handles: str) -> Any:
        entries: Any = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
        return self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def hide(self, handle: str, seconds: int) -> Any:
        entries: Any = [{"Id": "0", "ReceiptHandle": handle, "VisibilityTimeout": seconds}]
        return self.client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)


@pytest.fixture(params=["simulated", "real", "benchmarks"])
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "simulated":
        sqs = SimulatedSqs()
        return Server(sqs, QUEUE, sqs.pass_time)
    queue: Queue = request.getfixturevalue("queue" if request.param == "real" else "benchmark_queue")
    return Server(queue.client, queue.url, lambda seconds: time.sleep(seconds + 0.1))


def test_message_is_delivered_with_its_body_its_attributes_and_its_count(server: Server) -> None:
    reason = {"DataType": "String", "StringValue": "not_json"}
    (sent,) = server.send("{", reason=reason)["Successful"]
    (message,) = server.receive()
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "{")
    assert message["Attributes"].keys() == {"SentTimestamp", "ApproximateReceiveCount"}
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert message["MessageAttributes"]["reason"]["StringValue"] == "not_json"


def test_received_message_is_hidden_until_its_timeout(server: Server) -> None:
    server.send("a")
    (first,) = server.receive(visibility_timeout=1)
    assert server.receive() == []
    server.pass_time(1)
    (second,) = server.receive()
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"


def test_message_is_delivered_soon_when_it_is_released(server: Server) -> None:
    server.send("a")
    (message,) = server.receive()
    assert not server.hide(message["ReceiptHandle"], 0).get("Failed")
    assert len(server.receive()) == 1


def test_deleted_message_is_gone(server: Server) -> None:
    server.send("a", "b")
    messages = server.receive(visibility_timeout=1)
    assert not server.delete(messages[0]["ReceiptHandle"]).get("Failed")
    server.pass_time(1)
    assert [message["Body"] for message in server.receive()] == [messages[1]["Body"]]


def test_handle_that_is_none_fails_alone(server: Server) -> None:
    server.send("a")
    (message,) = server.receive()
    answer = server.delete("no-such-handle", message["ReceiptHandle"])
    assert [failed["Id"] for failed in answer["Failed"]] == ["0"]
    assert [deleted["Id"] for deleted in answer["Successful"]] == ["1"]


def test_counts_tell_visible_from_in_flight(server: Server) -> None:
    server.send("a", "b", "c")
    server.receive()
    server.send("d")
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer: Any = server.client.get_queue_attributes(QueueUrl=server.url, AttributeNames=names)
    assert [answer["Attributes"][name] for name in names] == ["1", "3"]
