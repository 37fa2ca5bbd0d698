"""What a call to SQS costs by different HTTP clients: `python -m benchmarks.sqs_clients_cost`.

Each of them drains a queue of the benchmarks' own server, which answers at once: receives of ten and their deletes, in
turn, eight or more at once. The figure is the CPU of this process, in microseconds a call. Those below boto3 do without
what it gives; `libcurl` is the pipeline's own (sqs/transport/curl.py).
"""

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from benchmarks.environment import environment_of
from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.local.sqs import REGION, sdk_environment
from login_pipeline.sqs.transport.curl import LibcurlSqs
from login_pipeline.sqs.transport.curl_session import Connection
from login_pipeline_tests.sqs_server.process import QueueServer

MESSAGES = 20_000
ROUNDS = 3
THREADS = 8
BY_ONE_THREAD = 16
"""Calls at once of a thread that makes several."""
ATTRIBUTES = ["SentTimestamp", "ApproximateReceiveCount"]
ASKED = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 900, "MessageSystemAttributeNames": ATTRIBUTES}
OPERATION = {"receive": "ReceiveMessage", "delete": "DeleteMessageBatch"}

Request = dict[str, Any]
Call = Callable[[str, Sequence[Request]], Sequence[list[str]]]
"""Makes calls of one operation at once; the receipt handles that each of them brought."""


class Client(NamedTuple):
    """How calls are made, by how many threads, and how many at once each of them makes."""

    call: Call
    threads: int = THREADS
    at_once: int = 1


def of_boto3() -> Client:
    """All that the SDK does, without its validation of parameters."""
    sqs: Any = sdk()

    def call(operation: str, requests: Sequence[Request]) -> list[list[str]]:
        send = sqs.receive_message if operation == OPERATION["receive"] else sqs.delete_message_batch
        return [handles(send(**request)) for request in requests]

    return Client(call)


def of_urllib3() -> Client:
    """The SDK's signer and its HTTP library, and nothing else of it."""
    pool = urllib3.PoolManager(maxsize=THREADS)

    def call(operation: str, requests: Sequence[Request]) -> list[list[str]]:
        signed_ones = [signed(operation, request) for request in requests]
        return [
            handles(pool.request("POST", f"{endpoint()}/", body=each.body, headers=dict(each.headers)).json())
            for each in signed_ones
        ]

    return Client(call)


def of_http_client() -> Client:
    """Python's own HTTP, a connection for each thread, and botocore's signer."""
    own = threading.local()

    def call(operation: str, requests: Sequence[Request]) -> list[list[str]]:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(urlsplit(endpoint()).netloc)
        answers = []
        for request in requests:
            each = signed(operation, request)
            own.connection.request("POST", "/", each.body, dict(each.headers))
            answers.append(handles(json.loads(own.connection.getresponse().read())))
        return answers

    return Client(call)


def of_libcurl(threads: int, at_once: int) -> Client:
    """The pipeline's client, from its second call on."""
    sqs = sdk()
    credentials: Any = boto3.Session().get_credentials()
    libcurl = LibcurlSqs(sqs, credentials, Connection(connect_timeout=5, read_timeout=30, ca_bundle=None))
    sqs.get_queue_url(QueueName="logins")  # the pattern of all other calls

    def call(operation: str, requests: Sequence[Request]) -> list[list[str]]:
        if operation == OPERATION["receive"]:
            answers = [timed.answer for timed in libcurl.receive(requests)]
            return [[message.receipt_handle for message in answer.messages] for answer in answers if answer]
        libcurl.change(operation, requests)
        return [[] for _ in requests]

    return Client(call, threads, at_once)


CLIENTS: dict[str, Callable[[], Client]] = {
    "boto3": of_boto3,
    "urllib3, signed by botocore": of_urllib3,
    "http.client, signed by botocore": of_http_client,
    "libcurl, a thread a call": lambda: of_libcurl(THREADS, 1),
    f"libcurl, {BY_ONE_THREAD} calls in a thread": lambda: of_libcurl(1, BY_ONE_THREAD),
}


def sdk() -> Any:
    """boto3's client of SQS."""
    return boto3.client("sqs", config=Config(parameter_validation=False, max_pool_connections=THREADS))


def endpoint() -> str:
    """Of the server that is measured against."""
    return os.environ["AWS_ENDPOINT_URL_SQS"]


def signed(operation: str, request: Request) -> AWSRequest:
    """A request in SQS's JSON protocol, with its signature."""
    headers = {"X-Amz-Target": f"AmazonSQS.{operation}", "Content-Type": "application/x-amz-json-1.0"}
    asked = AWSRequest("POST", f"{endpoint()}/", headers, json.dumps(request).encode())
    credentials = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "sqs", REGION).add_auth(asked)
    return asked


def handles(answer: Any) -> list[str]:
    """The receipt handles in an answer to ReceiveMessage; none in another."""
    return [message["ReceiptHandle"] for message in answer.get("Messages", [])]


def drain(client: Client, queue_url: str) -> int:
    """Receives and deletes until the queue is dry; how many calls brought or deleted messages."""

    def thread() -> int:
        calls = 0
        while brought := [
            each
            for each in client.call(OPERATION["receive"], [{"QueueUrl": queue_url, **ASKED}] * client.at_once)
            if each
        ]:
            client.call(
                OPERATION["delete"],
                [
                    {
                        "QueueUrl": queue_url,
                        "Entries": [{"Id": str(at), "ReceiptHandle": h} for at, h in enumerate(each)],
                    }
                    for each in brought
                ],
            )
            calls += 2 * len(brought)
        return calls

    with ThreadPoolExecutor(client.threads) as pool:
        return sum(each.result() for each in [pool.submit(thread) for _ in range(client.threads)])


@no_cycle_collection()
def microseconds(make: Callable[[], Client]) -> float:
    """CPU of this process a call, for one drain of a server that is new."""
    with QueueServer(fill=MESSAGES) as server:
        names = sdk_environment(server.endpoint) | {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
        with environment_of({**os.environ, **names}):
            client = make()
            started = time.process_time()
            calls = drain(client, server.queue_url)
            used = time.process_time() - started
        deleted = server.counts().logins["deleted"]
    if deleted != MESSAGES:
        raise SystemExit(f"{deleted} messages of {MESSAGES} were deleted, so nothing was measured that matters")
    return used / calls * 1e6


def main() -> None:
    """Prints the median of some rounds, in which each client has its turn."""
    found: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(ROUNDS):
        for name, make in CLIENTS.items():
            found[name].append(microseconds(make))
    print(json.dumps({name: round(median(each)) for name, each in found.items()}, indent=2))


if __name__ == "__main__":
    main()
