"""The benchmarks' SQS server as a process: what it is filled with, its HTTP, its limits, what it counts, its end."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from login_pipeline.local.ports import is_listening, wait_until
from login_pipeline.logins.event import LoginEvent, parse_login
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Queue, client_of
from login_pipeline_tests.sqs_server.process import QueueServer

SIGNED = b"Authorization: AWS4-HMAC-SHA256 Credential=test\r\n"


def logins_of(server: QueueServer) -> Queue:
    return Queue(client_of(server.endpoint), server.queue_url)


def port_of(server: QueueServer) -> int:
    return urlsplit(server.endpoint).port or 0


def test_it_is_filled_with_valid_logins_that_are_the_same_for_the_same_seed() -> None:
    filled, sent = [], []
    for seed in (1, 1, 2):
        with QueueServer(fill=100, seed=seed) as server:
            queue = logins_of(server)
            filled.append([(message["MessageId"], message["Body"]) for message in queue.take_all()])
            sent.append(queue.send("a"))
    assert filled[0] == filled[1]
    assert sent[0] == sent[1] != sent[2]
    assert not set(filled[0]) & set(filled[2])
    logins = [parse_login(body) for _, body in filled[0]]
    assert all(isinstance(login, LoginEvent) for login in logins)
    distinct: Any = [{getattr(login, name) for login in logins} for name in ("user_id", "ip", "device_id")]
    assert [len(values) for values in distinct] == [100, 100, 100]
    assert None in {getattr(login, "locale", "") for login in logins}


def test_more_messages_than_may_be_in_flight_are_not_delivered() -> None:
    with QueueServer(fill=20, max_in_flight=12) as server:
        client = logins_of(server).client

        def receive(wait: int) -> list[Any]:
            asked = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": wait}
            return list(client.receive_message(QueueUrl=server.queue_url, **asked).get("Messages", []))  # type: ignore[arg-type]

        messages = receive(0) + receive(0)
        assert len(messages) == 12
        with pytest.raises(ClientError) as error:
            receive(0)
        assert error.value.response["Error"]["Code"] == "OverLimit"
        assert receive(1) == []
        client.delete_message(QueueUrl=server.queue_url, ReceiptHandle=messages[0]["ReceiptHandle"])
        assert len(receive(0)) == 1


def test_it_counts_what_it_served() -> None:
    with QueueServer(fill=5) as server:
        queue = logins_of(server)
        first = queue.client.receive_message(QueueUrl=queue.url, MaxNumberOfMessages=2, VisibilityTimeout=0)
        assert len(first["Messages"]) == 2
        queue.send("a")
        assert len(queue.take_all()) == 6
        with pytest.raises(ClientError):
            queue.client.delete_message(QueueUrl=f"{queue.url}-absent", ReceiptHandle="a")
        counts = server.counts()
    assert counts.calls == {"ReceiveMessage": 3, "SendMessage": 1, "DeleteMessage": 7}
    assert counts.refused == {"AWS.SimpleQueueService.NonExistentQueue": 1}
    assert counts.logins == {
        "sent": 1,
        "receives_with_messages": 2,
        "received": 8,
        "redelivered": 2,
        "deleted": 6,
        "moved_away": 0,
        "visible": 0,
        "in_flight": 0,
        "delayed": 0,
    }
    assert counts.cpu_seconds > 0


def test_every_answer_of_sqs_takes_the_latency() -> None:
    with QueueServer(latency=0.3) as server:
        queue = logins_of(server)
        started = time.monotonic()
        queue.send("a")
        queue.client.receive_message(QueueUrl=queue.url)
        assert time.monotonic() - started > 0.6


def test_calls_that_are_made_at_once_wait_for_their_answers_together() -> None:
    with QueueServer(latency=2.0) as server:
        sends = [threading.Thread(target=logins_of(server).send, args=["a"]) for _ in range(16)]
        for send in sends:
            send.start()
        assert wait_until(lambda: server.counts().logins["sent"] == 16, seconds=60, still_possible=lambda: True)
        assert any(send.is_alive() for send in sends)  # one after the other, fifteen would be answered
        for send in sends:
            send.join()


@pytest.fixture
def connection(benchmark_server: QueueServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port_of(benchmark_server)), timeout=30) as connection:
        yield connection


def request(target: str, content: object, headers: bytes = SIGNED) -> bytes:
    data = json.dumps(content).encode()
    head = b"POST / HTTP/1.1\r\nHost: sqs\r\nx-amz-TARGET: AmazonSQS.%b\r\n%bContent-Length: %d\r\n\r\n"
    return head % (target.encode(), headers, len(data)) + data


def answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """The status line, and the content."""
    stream = connection.makefile("rb", buffering=0)
    status = stream.readline()
    length = 0
    while (line := stream.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    content = b""
    while len(content) < length:
        content += stream.read(length - len(content)) or b""
    return status, content


def test_requests_that_come_together_are_answered_in_their_order(
    connection: socket.socket, benchmark_queue: Queue
) -> None:
    asked = {"QueueUrl": benchmark_queue.url, "WaitTimeSeconds": 1}
    sent = {"QueueUrl": benchmark_queue.url, "MessageBody": "a"}
    connection.sendall(request("ReceiveMessage", asked) + request("SendMessage", sent) + request("DeleteQueue", asked))
    assert answer(connection) == (b"HTTP/1.1 200 OK\r\n", b"{}")
    assert b"MessageId" in answer(connection)[1]
    assert answer(connection)[1] == b""


def test_hundreds_of_requests_at_once_are_answered(connection: socket.socket) -> None:
    connection.sendall(request("GetQueueUrl", {"QueueName": "logins"}) * 400)
    for _ in range(400):
        assert b"QueueUrl" in answer(connection)[1]


def test_request_may_come_in_pieces(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request("GetQueueUrl", {"QueueName": "logins"}):
        connection.sendall(bytes([byte]))
    assert b"QueueUrl" in answer(connection)[1]


def test_client_that_asks_whether_to_continue_is_told_so(connection: socket.socket) -> None:
    head, _, content = request("GetQueueUrl", {"QueueName": "logins"}, SIGNED + b"Expect: 100-continue\r\n").partition(
        b"\r\n\r\n"
    )
    connection.sendall(head + b"\r\n\r\n")
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(content)
    assert b"QueueUrl" in answer(connection)[1]


def test_connection_is_closed_when_the_client_asks_for_it(connection: socket.socket) -> None:
    connection.sendall(request("GetQueueUrl", {"QueueName": "logins"}, SIGNED + b"Connection: close\r\n"))
    assert b"QueueUrl" in answer(connection)[1]
    assert connection.recv(1) == b""


def test_call_without_a_signature_is_refused(connection: socket.socket) -> None:
    connection.sendall(request("GetQueueUrl", {"QueueName": "logins"}, b""))
    assert answer(connection)[0] == b"HTTP/1.1 403 Forbidden\r\n"


def test_message_is_not_given_to_a_client_that_has_gone(connection: socket.socket, benchmark_queue: Queue) -> None:
    connection.sendall(request("ReceiveMessage", {"QueueUrl": benchmark_queue.url, "WaitTimeSeconds": 20}))
    time.sleep(0.3)  # the poll waits by now; if it does not, the test still holds
    connection.close()
    time.sleep(0.3)
    benchmark_queue.send("a")
    assert benchmark_queue.depth() == (1, 0)


def test_it_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os\nfrom login_pipeline_tests.sqs_server.process import QueueServer\n"
        "with QueueServer() as server:\n    print(server.endpoint, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    owner = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    port = urlsplit(owner.stdout.strip()).port or 0
    assert wait_until(lambda: not is_listening(port), seconds=30, still_possible=lambda: True)


def test_it_ends_with_its_block() -> None:
    with QueueServer() as server:
        assert is_listening(port_of(server))
    assert not is_listening(port_of(server))
