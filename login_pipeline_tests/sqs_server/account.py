"""The queues that there are, by name, URL and ARN."""

import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from login_pipeline_tests.sqs_server.errors import SqsError
from login_pipeline_tests.sqs_server.queue import MAX_IN_FLIGHT, Queue
from login_pipeline_tests.sqs_server.queue_attributes import QueueAttributes
from login_pipeline_tests.sqs_server.receipt_handles import ReceiptHandles

REGION = "us-east-1"
ACCOUNT = "000000000000"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Clock:
    """The time of the start, and how much has passed since then, whatever is done to the computer's clock."""

    def __init__(self) -> None:
        self._epoch = time.time_ns() - time.monotonic_ns()

    def now(self) -> int:
        """Milliseconds since the epoch; they never go back."""
        return (time.monotonic_ns() + self._epoch) // 1_000_000


@dataclass(frozen=True, eq=False)
class OwnedQueue:
    """A queue with its URL and its attributes."""

    url: str
    queue: Queue
    attributes: QueueAttributes


class Account:
    """All queues of the one account that there is."""

    def __init__(self, endpoint: str, source: random.Random, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self.clock = Clock()
        # Of what is made at random: ids and receipt handles.
        self.source = source
        # Of messages, whichever queue they are on.
        self.numbers = count(1)
        self._endpoint = endpoint
        self._max_in_flight = max_in_flight
        self._by_name: dict[str, OwnedQueue] = {}
        # As they were asked for: whatever the host is called, the path tells which it is.
        self._by_url: dict[str, OwnedQueue] = {}

    def __iter__(self) -> Iterator[OwnedQueue]:
        return iter(self._by_name.values())

    def create(self, name: str, attributes: Mapping[str, str]) -> OwnedQueue:
        """Makes the queue, or returns the one that there is.

        Raises:
            SqsError: it cannot have this name or these attributes, or has others already.
        """
        if not _NAME.fullmatch(name):
            reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            raise SqsError("InvalidParameterValue", reason)
        if owned := self._by_name.get(name):
            _check_same(owned, attributes)
            return owned
        queue = Queue(name, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", ReceiptHandles(self.source), self._max_in_flight)
        owned = OwnedQueue(f"{self._endpoint}/{ACCOUNT}/{name}", queue, QueueAttributes(queue, int(time.time())))
        owned.attributes.set(attributes, self.by_arn, int(time.time()))
        self._by_name[name] = owned
        return owned

    def by_url(self, url: str) -> OwnedQueue:
        """The queue of this URL.

        Raises:
            SqsError: there is none.
        """
        return self._by_url.get(url) or self._look_up(url)

    def by_name(self, name: str) -> OwnedQueue:
        """The queue of this name; raises as `by_url` does."""
        try:
            return self._by_name[name]
        except KeyError:
            raise SqsError("QueueDoesNotExist", "The specified queue does not exist.") from None

    def by_arn(self, arn: str) -> Queue | None:
        """The queue of this ARN."""
        return next((owned.queue for owned in self if owned.queue.arn == arn), None)

    def delete(self, owned: OwnedQueue) -> None:
        """Forgets the queue and what is on it."""
        owned.queue.purge()
        del self._by_name[owned.queue.name]
        self._by_url.clear()

    def _look_up(self, url: str) -> OwnedQueue:
        owned = self.by_name(url.rpartition("/")[2])
        self._by_url[url] = owned
        return owned


def _check_same(owned: OwnedQueue, attributes: Mapping[str, str]) -> None:
    present = owned.attributes.get(["All"])
    for name, value in attributes.items():
        if present.get(name) != value:
            raise SqsError(
                "QueueNameExists",
                f"A queue already exists with the same name and a different value for attribute {name}",
            )
