"""The tests' SQS server as a process: what it is filled with, its long polls, its HTTP, its counts, its end.

What a message and a receipt are is held with the other servers (exactly_once/test_simulated_sqs.py).
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from login_pipeline.local.ports import is_listening, wait_until
from login_pipeline.logins.event import LoginEvent, parse_login
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Queue, client_of
from login_pipeline_tests.sqs_server.process import QueueServer


def logins_of(server: QueueServer) -> Queue:
    return Queue(client_of(server.endpoint), server.queue_url)


def port_of(endpoint: str) -> int:
    return urlsplit(endpoint).port or 0


def send(queue: Queue) -> None:
    queue.client.send_message_batch(QueueUrl=queue.url, Entries=[{"Id": "0", "MessageBody": "a"}])


def receive(queue: Queue, seconds: int) -> list[Any]:
    answer: Any = queue.client.receive_message(QueueUrl=queue.url, WaitTimeSeconds=seconds)
    return list(answer.get("Messages", []))


def test_it_is_filled_with_valid_logins_and_counts_what_it_served() -> None:
    with QueueServer(fill=100) as server:
        queue = logins_of(server)
        messages = queue.take_all()
        with pytest.raises(ClientError, match="QueueDoesNotExist"):
            queue.client.delete_message(QueueUrl=f"{queue.url}-absent", ReceiptHandle="a")
        counts = server.counts()
    logins = [parse_login(message["Body"]) for message in messages]
    assert all(isinstance(login, LoginEvent) for login in logins)
    distinct: Any = [{getattr(login, name) for login in logins} for name in ("user_id", "ip", "device_id")]
    assert [len(values) for values in distinct] == [100, 100, 100]
    assert None in {getattr(login, "locale", "") for login in logins}
    assert counts.calls == {"ReceiveMessage": 11, "DeleteMessage": 101}
    assert counts.logins == {"visible": 0, "in_flight": 0, "received": 100, "receives_with_messages": 10}
    assert counts.cpu_seconds > 0


def test_calls_take_the_latency_and_wait_for_it_together() -> None:
    with QueueServer(latency=0.5) as server, ThreadPoolExecutor(16) as threads:
        queues = [logins_of(server) for _ in range(16)]
        started = time.monotonic()
        assert list(threads.map(lambda queue: receive(queue, 0), queues)) == [[]] * 16
        assert 0.5 < time.monotonic() - started < 8 * 0.5


def test_long_poll_is_answered_when_a_message_is_sent_or_released(benchmark_queue: Queue) -> None:
    with ThreadPoolExecutor(1) as thread:
        poll = thread.submit(receive, benchmark_queue, 20)
        time.sleep(0.3)  # the poll waits by now; if it does not, the test still holds
        send(benchmark_queue)
        (message,) = poll.result()
        poll = thread.submit(receive, benchmark_queue, 20)
        time.sleep(0.3)  # as above
        entry: Any = {"Id": "0", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
        benchmark_queue.client.change_message_visibility_batch(QueueUrl=benchmark_queue.url, Entries=[entry])
        assert [each["MessageId"] for each in poll.result()] == [message["MessageId"]]


def test_long_poll_waits_for_its_time_and_comes_back_empty(benchmark_queue: Queue) -> None:
    started = time.monotonic()
    assert receive(benchmark_queue, 1) == []
    assert time.monotonic() - started > 0.9


@pytest.fixture
def connection(benchmark_server: QueueServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port_of(benchmark_server.endpoint)), timeout=30) as connection:
        yield connection


def request(queue: Queue, seconds: int) -> bytes:
    content = json.dumps({"QueueUrl": queue.url, "WaitTimeSeconds": seconds}).encode()
    head = b"POST / HTTP/1.1\r\nHost: sqs\r\nx-amz-TARGET: AmazonSQS.ReceiveMessage\r\nContent-Length: %d\r\n\r\n"
    return head % len(content) + content


def test_request_may_come_in_pieces(connection: socket.socket, benchmark_queue: Queue) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request(benchmark_queue, 0):
        connection.sendall(bytes([byte]))
    assert connection.recv(1000).endswith(b"\r\n\r\n{}")


def test_message_is_not_given_to_a_client_that_has_gone(connection: socket.socket, benchmark_queue: Queue) -> None:
    connection.sendall(request(benchmark_queue, 20))
    time.sleep(0.3)  # the poll waits by now; if it does not, the test still holds
    connection.close()
    time.sleep(0.3)
    send(benchmark_queue)
    assert benchmark_queue.depth() == (1, 0)


def test_it_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os\nfrom login_pipeline_tests.sqs_server.process import QueueServer\n"
        "with QueueServer() as server:\n    print(server.endpoint, flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    owner = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    port = port_of(owner.stdout.strip())
    assert wait_until(lambda: not is_listening(port), seconds=30, still_possible=lambda: True)
