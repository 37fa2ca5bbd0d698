"""A fresh backlog for every run: what one is, and those of our own server."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

import boto3

from benchmarks.messages import MALFORMED, Sent
from login_pipeline.local.sqs import REGION, sdk_environment
from login_pipeline_tests.sqs_server.process import QueueServer

MALFORMED_MESSAGES = 10
"""Of every backlog, so that every run quarantines too."""


class Left(NamedTuple):
    """How many messages are on the queue, whether they can be received or not, and on its dead-letter queue."""

    on_queue: int
    on_dead_letter_queue: int


class Backlog(Protocol):
    """A queue with messages on it."""

    sent: Sent
    environment: dict[str, str]

    def left(self) -> Left:
        """What is on the queues now."""

    def is_empty(self) -> bool:
        """Whether nothing is on the queue, as it seems now."""

    def cpu_seconds(self) -> float | None:
        """What the server has used so far; None where that cannot be seen."""


class Queues(Protocol):
    """Where the messages come from."""

    def backlog(self, messages: int, latency_ms: int | None) -> AbstractContextManager[Backlog]:
        """A queue with so many messages on it, whose server takes so long for each call."""


class OwnBacklog:
    """The queues of a server that has nothing else to do."""

    def __init__(self, server: QueueServer, messages: int) -> None:
        self._server = server
        self.sent = Sent(messages - MALFORMED_MESSAGES, MALFORMED_MESSAGES)
        self.environment = {
            **sdk_environment(server.endpoint),
            **sdk_region(REGION),
            "LOGIN_QUEUE_URL": server.queue_url,
            "LOGIN_DEAD_LETTER_QUEUE_URL": server.dead_letter_queue_url,
        }

    def left(self) -> Left:
        """What the server counts, which is exact."""
        queues = self._server.counts().queues
        here, rejects = (queues[url.rpartition("/")[2]] for url in self._urls())
        return Left(*(each["visible"] + each["in_flight"] + each["delayed"] for each in (here, rejects)))

    def is_empty(self) -> bool:
        """Whether every message is deleted."""
        return not self.left().on_queue

    def cpu_seconds(self) -> float:
        """Of the server's one process."""
        return self._server.cpu_seconds()

    def add_malformed(self) -> None:
        """Puts what is no login behind the others."""
        client = boto3.client(
            "sqs",
            endpoint_url=self._server.endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - the server asks for none
        )
        client.send_message_batch(
            QueueUrl=self._server.queue_url,
            Entries=[{"Id": str(number), "MessageBody": MALFORMED} for number in range(MALFORMED_MESSAGES)],
        )

    def _urls(self) -> tuple[str, str]:
        return self._server.queue_url, self._server.dead_letter_queue_url


class OwnQueues:
    """A server that is started, filled, for each run."""

    @contextmanager
    def backlog(self, messages: int, latency_ms: int | None) -> Iterator[OwnBacklog]:
        """The last of the messages are malformed."""
        with QueueServer(latency=(latency_ms or 0) / 1000, fill=messages - MALFORMED_MESSAGES) as server:
            backlog = OwnBacklog(server, messages)
            backlog.add_malformed()
            yield backlog


def sdk_region(region: str) -> dict[str, str]:
    """The region for our settings and for the SDK, which reads another variable."""
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
