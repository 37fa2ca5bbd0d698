"""What a client of SQS relies on: the same tests for the emulator and for the benchmarks' own server.

Where the emulator does otherwise than Amazon documents, a test is for our server alone and says what differs.
"""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from login_pipeline_tests.conftest import REGION, Queue, Servers, client_of
from login_pipeline_tests.sqs_server.process import QueueServer

TEXT = {"DataType": "String", "StringValue": "Kenobi"}
only_ours = pytest.mark.parametrize("endpoint", ["benchmarks"], indirect=True)


@pytest.fixture(params=["emulator", "benchmarks"])
def endpoint(request: pytest.FixtureRequest) -> str:
    if request.param == "emulator":
        servers: Servers = request.getfixturevalue("servers")
        return servers.sqs_endpoint
    server: QueueServer = request.getfixturevalue("benchmark_server")
    return server.endpoint


@pytest.fixture
def make_queue(endpoint: str) -> Callable[..., Queue]:
    client = client_of(endpoint)

    def make(**attributes: str) -> Queue:
        created: Any = client.create_queue(QueueName=f"test-{uuid.uuid4()}", Attributes=attributes)  # type: ignore[arg-type]
        return Queue(client, created["QueueUrl"])

    return make


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


def receive(queue: Queue, **parameters: Any) -> list[Any]:
    answer: Any = queue.client.receive_message(QueueUrl=queue.url, **{"MaxNumberOfMessages": 10, **parameters})
    return list(answer.get("Messages", []))


def bodies(messages: list[Any]) -> list[str]:
    return sorted(message["Body"] for message in messages)


def arn(queue: Queue) -> str:
    told = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])
    return str(told["Attributes"]["QueueArn"])


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return str(error.value.response["Error"]["Code"])


def post(endpoint: str, target: str, content: object) -> tuple[int, dict[str, str], Any]:
    """Calls with nothing between us and the server; returns the status, the headers and the content."""
    address = urlsplit(endpoint)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=30)
    credential = f"Credential=test/20260101/{REGION}/sqs/aws4_request, SignedHeaders=host, Signature=0"
    headers = {
        "X-Amz-Target": f"AmazonSQS.{target}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 {credential}",
    }
    connection.request("POST", "/", json.dumps(content), headers)
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    content = json.loads(answer.read() or b"{}")
    connection.close()
    return answer.status, told, content


def test_message_has_what_a_client_checks_it_by(queue: Queue) -> None:
    sent = queue.client.send_message(QueueUrl=queue.url, MessageBody='ünï "c" \\ \t\n\U0001f600')
    (message,) = receive(queue)
    assert message["Body"] == 'ünï "c" \\ \t\n\U0001f600'
    assert message["MessageId"] == sent["MessageId"] == str(uuid.UUID(sent["MessageId"]))
    checksum = hashlib.md5(message["Body"].encode(), usedforsecurity=False).hexdigest()
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"] == checksum
    assert "Attributes" not in message
    assert "MessageAttributes" not in message


def test_sent_timestamp_is_the_time_of_sending_in_milliseconds(queue: Queue) -> None:
    before = time.time()
    queue.send("a")
    after = time.time()
    (message,) = receive(queue, MessageSystemAttributeNames=["SentTimestamp"])
    assert before * 1000 - 50 <= int(message["Attributes"]["SentTimestamp"]) <= after * 1000 + 50


def test_system_attributes_are_those_that_are_asked_for(queue: Queue) -> None:
    queue.send("a")
    usual = {"SentTimestamp", "SenderId", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"}
    for names in ({"SenderId"}, {"SentTimestamp", "ApproximateReceiveCount"}, usual):
        (message,) = receive(queue, MessageSystemAttributeNames=sorted(names), VisibilityTimeout=0)
        assert message["Attributes"].keys() == names
    (message,) = receive(queue, MessageSystemAttributeNames=["All"], VisibilityTimeout=0)
    assert message["Attributes"].keys() == usual
    (message,) = receive(queue, AttributeNames=["All"])
    assert message["Attributes"].keys() == usual
    assert message["Attributes"]["ApproximateReceiveCount"] == "5"


THREE = {
    name: {"DataType": "String", "StringValue": value}
    for name, value in (("Help.Me", "Me"), ("General", "Kenobi"), ("Hello", "There"))
}


@pytest.mark.parametrize(
    ("names", "received"),
    [
        (["All"], {"General", "Hello", "Help.Me"}),
        ([".*"], {"General", "Hello", "Help.Me"}),
        (["General", "Hello"], {"General", "Hello"}),
        (["Hello", "Absent"], {"Hello"}),
        (["Hel.*"], {"Hello", "Help.Me"}),
        (["Absent"], set()),
        ([], set()),
    ],
)
def test_message_attributes_are_those_that_are_asked_for(queue: Queue, names: list[str], received: set[str]) -> None:
    queue.send("msg", **THREE)
    (message,) = receive(queue, MessageAttributeNames=names)
    assert message.get("MessageAttributes", {}) == {name: THREE[name] for name in received}
    assert ("MD5OfMessageAttributes" in message) is bool(received)


# The checksums in the next three tests are those that Amazon SQS gave for the same attributes.


def test_checksum_of_all_attributes(queue: Queue) -> None:
    queue.send("msg", **THREE)
    (message,) = receive(queue, MessageAttributeNames=["All"])
    assert message["MD5OfMessageAttributes"] == "4c360f3fdafd970e05fae2f149d997f5"


@only_ours  # the emulator gives the checksum of all attributes always
@pytest.mark.parametrize(
    ("names", "checksum"),
    [
        (["General", "Hello"], "fca026605781cb4126a1e9044df24232"),
        (["Hello", "Absent"], "a311262e065454b75da111d535b8dacd"),
        (["Hel.*"], "83fee93c1bcd8b9a5a923ffacdc636c7"),
    ],
)
def test_checksum_is_of_the_attributes_that_are_received(queue: Queue, names: list[str], checksum: str) -> None:
    queue.send("msg", **THREE)
    (message,) = receive(queue, MessageAttributeNames=names)
    assert message["MD5OfMessageAttributes"] == checksum


def test_binary_attribute_comes_as_it_was_sent(queue: Queue) -> None:
    value = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
    sent = queue.client.send_message(
        QueueUrl=queue.url,
        MessageBody="test",
        MessageAttributes={"attr1": {"DataType": "Binary", "BinaryValue": value}},
    )
    (message,) = receive(queue, MessageAttributeNames=["All"])
    assert message["MessageAttributes"] == {"attr1": {"DataType": "Binary", "BinaryValue": value}}
    checksum = "8cbe4db156db8a94db8b801b7addb984"
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"] == checksum


def test_receive_takes_no_more_than_it_asks_for(queue: Queue) -> None:
    queue.send(*"abcde")
    assert len(receive(queue, MaxNumberOfMessages=3)) == 3
    assert len(receive(queue)) == 2
    assert receive(queue) == []


def test_visibility_timeout_of_zero_hides_nothing(queue: Queue) -> None:
    queue.send("a", "b")
    handles = {message["ReceiptHandle"] for _ in range(3) for message in receive(queue, VisibilityTimeout=0)}
    assert len(handles) == 6
    assert queue.depth() == (2, 0)


def test_queue_s_own_visibility_timeout_is_used_where_a_receive_names_none(make_queue: Callable[..., Queue]) -> None:
    queue = make_queue(VisibilityTimeout="0")
    queue.send("a")
    assert len(receive(queue)) == len(receive(queue)) == 1


def test_changed_visibility_timeout_counts_from_now(queue: Queue) -> None:
    queue.send("sooner", "later")
    handles = {message["Body"]: message["ReceiptHandle"] for message in receive(queue, VisibilityTimeout=2)}
    change = queue.client.change_message_visibility
    change(QueueUrl=queue.url, ReceiptHandle=handles["sooner"], VisibilityTimeout=0)
    change(QueueUrl=queue.url, ReceiptHandle=handles["later"], VisibilityTimeout=600)
    assert bodies(receive(queue)) == ["sooner"]
    time.sleep(2.5)
    assert receive(queue) == []


def test_message_that_is_visible_again_can_still_be_deleted_until_it_is_received(queue: Queue) -> None:
    queue.send("a", "b")
    messages = receive(queue, VisibilityTimeout=0)
    queue.client.delete_message(QueueUrl=queue.url, ReceiptHandle=messages[0]["ReceiptHandle"])
    assert queue.depth() == (1, 0)
    assert bodies(receive(queue)) == [messages[1]["Body"]]


@only_ours  # the emulator forgets the handles of deleted messages
def test_second_delete_succeeds_and_does_nothing(queue: Queue) -> None:
    queue.send("a", "b")
    (handle, _) = (message["ReceiptHandle"] for message in receive(queue))
    for _ in range(2):
        queue.client.delete_message(QueueUrl=queue.url, ReceiptHandle=handle)
    assert queue.count() == 1


@only_ours  # the emulator knows a message's newest handle only
def test_handle_of_an_older_delivery_deletes_nothing_and_is_no_error(queue: Queue) -> None:
    queue.send("a")
    (old,) = receive(queue, VisibilityTimeout=0)
    receive(queue)
    answer = queue.client.delete_message_batch(
        QueueUrl=queue.url, Entries=[{"Id": "0", "ReceiptHandle": old["ReceiptHandle"]}]
    )
    assert [each["Id"] for each in answer["Successful"]] == ["0"]
    assert queue.depth() == (0, 1)


def test_handle_of_another_queue_is_none(make_queue: Callable[..., Queue]) -> None:
    queue, other = make_queue(), make_queue()
    queue.send("a")
    other.send("b")
    ((mine,), _) = (receive(queue), receive(other))
    delete = other.client.delete_message
    assert code_of(lambda: delete(QueueUrl=other.url, ReceiptHandle=mine["ReceiptHandle"])) == "ReceiptHandleIsInvalid"
    assert (queue.count(), other.count()) == (1, 1)


@pytest.mark.parametrize("operation", ["delete_message_batch", "change_message_visibility_batch"])
def test_entry_that_fails_is_told_with_whose_fault_it_is(queue: Queue, operation: str) -> None:
    queue.send("a")
    (message,) = receive(queue)
    entries: list[dict[str, Any]] = [
        {"Id": "wrong", "ReceiptHandle": "no-such-handle"},
        {"Id": "right", "ReceiptHandle": message["ReceiptHandle"]},
    ]
    if operation == "change_message_visibility_batch":
        entries = [{**entry, "VisibilityTimeout": 0} for entry in entries]
    answer = getattr(queue.client, operation)(QueueUrl=queue.url, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["right"]
    (failed,) = answer["Failed"]
    assert (failed["Id"], failed["SenderFault"], failed["Code"]) == ("wrong", True, "ReceiptHandleIsInvalid")


@only_ours  # the emulator hides it
def test_visibility_of_a_message_that_is_not_in_flight_cannot_be_changed(queue: Queue) -> None:
    queue.send("a")
    (message,) = receive(queue, VisibilityTimeout=0)
    change = queue.client.change_message_visibility
    handle = message["ReceiptHandle"]
    code = code_of(lambda: change(QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=5))
    assert code == "AWS.SimpleQueueService.MessageNotInflight"


def test_message_that_cannot_be_sent_fails_alone(queue: Queue) -> None:
    entries: Any = [{"Id": "good", "MessageBody": "a"}, {"Id": "bad", "MessageBody": "a\x00b"}]
    answer = queue.client.send_message_batch(QueueUrl=queue.url, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["good"]
    assert [(each["Id"], each["SenderFault"], each["Code"]) for each in answer["Failed"]] == [
        ("bad", True, "InvalidMessageContents")
    ]
    assert queue.count() == 1


def entries(count: int) -> list[dict[str, str]]:
    return [{"Id": str(number), "ReceiptHandle": "handle"} for number in range(count)]


@pytest.mark.parametrize(
    ("operation", "asked", "code"),
    [
        ("delete_message", {"ReceiptHandle": "no-such-handle"}, "ReceiptHandleIsInvalid"),
        ("delete_message", {"ReceiptHandle": ""}, "MissingParameter"),
        ("send_message", {"MessageBody": ""}, "MissingParameter"),
        ("send_message", {"MessageBody": "a\x0b"}, "InvalidMessageContents"),
        ("send_message", {"MessageBody": "a" * 1_100_000}, "InvalidParameterValue"),
        (
            "send_message_batch",
            {"Entries": [{"Id": str(number), "MessageBody": "a" * 600_000} for number in range(2)]},
            "AWS.SimpleQueueService.BatchRequestTooLong",
        ),
        ("set_queue_attributes", {"Attributes": {"VisibilityTimeout": "43201"}}, "InvalidAttributeValue"),
        ("set_queue_attributes", {"Attributes": {"RedrivePolicy": "{"}}, "InvalidAttributeValue"),
    ],
)
def test_call_that_asks_for_the_wrong_thing_is_refused_by_its_code(
    queue: Queue, operation: str, asked: dict[str, Any], code: str
) -> None:
    assert code_of(lambda: getattr(queue.client, operation)(QueueUrl=queue.url, **asked)) == code


@only_ours  # the emulator does not check bounds, nor batches
@pytest.mark.parametrize(
    ("operation", "asked", "code"),
    [
        ("receive_message", {"MaxNumberOfMessages": 0}, "InvalidParameterValue"),
        ("receive_message", {"MaxNumberOfMessages": 11}, "InvalidParameterValue"),
        ("receive_message", {"WaitTimeSeconds": 21}, "InvalidParameterValue"),
        ("receive_message", {"VisibilityTimeout": 43_201}, "InvalidParameterValue"),
        ("receive_message", {"MessageSystemAttributeNames": ["Sent"]}, "InvalidAttributeName"),
        ("delete_message_batch", {"Entries": []}, "AWS.SimpleQueueService.EmptyBatchRequest"),
        ("delete_message_batch", {"Entries": entries(11)}, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        ("delete_message_batch", {"Entries": entries(1) * 2}, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        (
            "delete_message_batch",
            {"Entries": [{"Id": "no id", "ReceiptHandle": "a"}]},
            "AWS.SimpleQueueService.InvalidBatchEntryId",
        ),
        ("change_message_visibility_batch", {"Entries": []}, "AWS.SimpleQueueService.EmptyBatchRequest"),
        ("change_message_visibility", {"ReceiptHandle": "a", "VisibilityTimeout": 43_201}, "InvalidParameterValue"),
        ("send_message_batch", {"Entries": []}, "AWS.SimpleQueueService.EmptyBatchRequest"),
        ("send_message", {"MessageBody": "a", "DelaySeconds": 901}, "InvalidParameterValue"),
        (
            "send_message",
            {"MessageBody": "a", "MessageAttributes": {str(n): TEXT for n in range(11)}},
            "InvalidParameterValue",
        ),
        ("get_queue_attributes", {"AttributeNames": ["Depth"]}, "InvalidAttributeName"),
        ("set_queue_attributes", {"Attributes": {"Depth": "1"}}, "InvalidAttributeName"),
    ],
)
def test_call_that_is_out_of_bounds_is_refused_by_its_code(
    queue: Queue, operation: str, asked: dict[str, Any], code: str
) -> None:
    assert code_of(lambda: getattr(queue.client, operation)(QueueUrl=queue.url, **asked)) == code


def test_error_is_told_as_the_json_protocol_tells_it(endpoint: str, queue: Queue) -> None:
    status, headers, content = post(endpoint, "ReceiveMessage", {"QueueUrl": f"{queue.url}-absent"})
    assert status == 400
    assert headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert content["__type"].rpartition("#")[2] == "QueueDoesNotExist"
    assert content["message"]


@only_ours  # the emulator names no namespace
@pytest.mark.parametrize(
    ("operation", "asked", "namespace"),
    [
        ("ReceiveMessage", {"QueueUrl": "http://sqs/1/absent"}, "com.amazonaws.sqs"),
        ("GetQueueUrl", {"QueueName": "absent"}, "com.amazonaws.sqs"),
        ("CreateQueue", {"QueueName": "no name"}, "com.amazon.coral.service"),
        ("ReceiveNothing", {}, "com.amazon.coral.service"),
    ],
)
def test_error_tells_whether_sqs_or_its_framework_refuses(
    endpoint: str, operation: str, asked: dict[str, str], namespace: str
) -> None:
    _, _, content = post(endpoint, operation, asked)
    assert content["__type"].partition("#")[0] == namespace


@only_ours  # the emulator takes anything
@pytest.mark.parametrize("content", [[], "QueueUrl", {"QueueUrl": 1}, {"QueueUrl": "a", "WaitTimeSeconds": "20"}])
def test_request_that_has_the_wrong_types_is_malformed(endpoint: str, content: object) -> None:
    status, headers, _ = post(endpoint, "ReceiveMessage", content)
    assert (status, headers["x-amzn-query-error"]) == (400, "MalformedInput;Sender")


def test_operation_that_there_is_not_is_an_invalid_action(endpoint: str) -> None:
    status, headers, _ = post(endpoint, "ReceiveNothing", {})
    assert (status, headers["x-amzn-query-error"]) == (400, "InvalidAction;Sender")


def test_long_poll_is_answered_when_a_message_is_sent(queue: Queue) -> None:
    answers: list[list[Any]] = []
    polls = [
        threading.Thread(target=lambda: answers.append(receive(queue, MaxNumberOfMessages=1, WaitTimeSeconds=20)))
        for _ in range(2)
    ]
    for poll in polls:
        poll.start()
    time.sleep(0.5)  # the polls wait by now; if they do not, the test still holds
    queue.send("a", "b")
    for poll in polls:
        poll.join()
    assert sorted(bodies(messages) for messages in answers) == [["a"], ["b"]]


def test_long_poll_is_answered_when_a_message_is_visible_again(queue: Queue) -> None:
    queue.send("a")
    receive(queue, VisibilityTimeout=1)
    assert bodies(receive(queue, WaitTimeSeconds=20)) == ["a"]


def test_long_poll_is_answered_when_a_message_is_handed_back(queue: Queue) -> None:
    queue.send("a")
    (message,) = receive(queue)
    answers: list[list[Any]] = []
    poll = threading.Thread(target=lambda: answers.append(receive(queue, WaitTimeSeconds=20)))
    poll.start()
    time.sleep(0.5)  # as above
    queue.client.change_message_visibility(
        QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    poll.join()
    assert [bodies(messages) for messages in answers] == [["a"]]


def test_long_poll_waits_for_its_time_and_comes_back_empty(make_queue: Callable[..., Queue]) -> None:
    for queue, asked in ((make_queue(), {"WaitTimeSeconds": 1}), (make_queue(ReceiveMessageWaitTimeSeconds="1"), {})):
        started = time.monotonic()
        assert receive(queue, **asked) == []
        assert time.monotonic() - started > 0.9


def test_delayed_message_comes_after_its_delay(make_queue: Callable[..., Queue]) -> None:
    for queue, delay in ((make_queue(), {"DelaySeconds": 1}), (make_queue(DelaySeconds="1"), {})):
        queue.client.send_message(QueueUrl=queue.url, MessageBody="a", **delay)  # type: ignore[arg-type]
        assert receive(queue) == []
        assert queue.depth() == (0, 1)
        assert bodies(receive(queue, WaitTimeSeconds=20)) == ["a"]


def test_redrive_policy_moves_a_message_with_its_id_and_its_time(make_queue: Callable[..., Queue]) -> None:
    letters = make_queue()
    queue = make_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(letters), "maxReceiveCount": "2"}))
    queue.send("a", reason=TEXT)
    names: Any = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    for _ in range(2):
        (message,) = receive(queue, VisibilityTimeout=0, **names)
    assert receive(queue) == []
    assert queue.count() == 0
    (letter,) = receive(letters, **names)
    assert letter["MessageId"] == message["MessageId"]
    assert letter["Attributes"]["SentTimestamp"] == message["Attributes"]["SentTimestamp"]
    assert letter["MessageAttributes"] == {"reason": TEXT}
    letters.client.delete_message(QueueUrl=letters.url, ReceiptHandle=letter["ReceiptHandle"])
    assert letters.count() == 0


def test_long_poll_is_answered_when_a_redrive_policy_moves_a_message(make_queue: Callable[..., Queue]) -> None:
    letters = make_queue()
    queue = make_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(letters), "maxReceiveCount": 1}))
    queue.send("a")
    receive(queue, VisibilityTimeout=0)
    answers: list[list[Any]] = []
    poll = threading.Thread(target=lambda: answers.append(receive(letters, WaitTimeSeconds=20)))
    poll.start()
    time.sleep(0.5)  # as above
    assert receive(queue, WaitTimeSeconds=1) == []
    poll.join()
    assert [bodies(messages) for messages in answers] == [["a"]]


@only_ours  # the emulator does not tell where from
def test_letter_tells_where_it_came_from_and_keeps_its_count(make_queue: Callable[..., Queue]) -> None:
    letters = make_queue()
    queue = make_queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": arn(letters), "maxReceiveCount": 1}))
    queue.send("a")
    receive(queue, VisibilityTimeout=0)
    receive(queue)
    (letter,) = receive(letters, MessageSystemAttributeNames=["All"])
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == arn(queue)
    assert letter["Attributes"]["ApproximateReceiveCount"] == "2"


def test_purged_queue_is_empty(queue: Queue) -> None:
    queue.send("a", "b")
    receive(queue, MaxNumberOfMessages=1)
    queue.client.purge_queue(QueueUrl=queue.url)
    assert queue.count() == 0
    queue.send("c")
    assert bodies(receive(queue)) == ["c"]


def test_queue_is_found_by_its_name_and_made_once(queue: Queue) -> None:
    name = queue.url.rpartition("/")[2]
    assert queue.client.get_queue_url(QueueName=name)["QueueUrl"] == queue.url
    assert queue.client.create_queue(QueueName=name)["QueueUrl"] == queue.url
    assert (
        code_of(lambda: queue.client.get_queue_url(QueueName=f"{name}-absent"))
        == "AWS.SimpleQueueService.NonExistentQueue"
    )
    different = {"VisibilityTimeout": "77"}
    code = code_of(lambda: queue.client.create_queue(QueueName=name, Attributes=different))  # type: ignore[arg-type]
    assert code == "QueueAlreadyExists"


def test_deleted_queue_does_not_exist(queue: Queue) -> None:
    queue.send("a")
    queue.client.delete_queue(QueueUrl=queue.url)
    assert code_of(lambda: receive(queue)) == "AWS.SimpleQueueService.NonExistentQueue"
    assert code_of(lambda: queue.send("b")) == "AWS.SimpleQueueService.NonExistentQueue"


def test_queue_tells_what_it_was_set_to(queue: Queue) -> None:
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"VisibilityTimeout": "77", "DelaySeconds": "3"})
    told: Any = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])["Attributes"]
    assert (told["VisibilityTimeout"], told["DelaySeconds"]) == ("77", "3")
    assert told["ReceiveMessageWaitTimeSeconds"] == "0"
    assert told["QueueArn"].endswith(queue.url.rpartition("/")[2])
    asked: Any = ["VisibilityTimeout", "RedrivePolicy"]
    told = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=asked)["Attributes"]
    assert told == {"VisibilityTimeout": "77"}
