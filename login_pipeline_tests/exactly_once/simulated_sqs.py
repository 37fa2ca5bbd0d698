"""SQS's server side in memory, with a clock of its own: no real server expires, duplicates and redelivers on demand.

It answers the methods of the SDK's client that the pipeline calls, as Amazon SQS documents standard queues, and it is
held to the same tests as the real server (test_simulated_sqs.py). Nothing in it is random, so that a test can replay
what happened.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any
from uuid import UUID

from botocore.exceptions import ReadTimeoutError

QUEUE = "http://sqs.simulated/000000000000/logins"
DEAD_LETTER_QUEUE = "http://sqs.simulated/000000000000/logins-dead-letter"
DAY = 86_400
# Seconds after which SQS forgets a message: the longest that a queue can be set to.
RETENTION = 14 * DAY
# Seconds since the epoch: ten minutes before a midnight in UTC.
START = 1_767_225_000

Entry = dict[str, Any]


class Fault(StrEnum):
    """What can go wrong with the next call of an operation."""

    REFUSED = "refuses every other entry"
    UNANSWERED = "does what it is asked, and its answer is lost"


@dataclass
class Stored:
    """A message on a queue. `deleted` ones are kept, because SQS may deliver them again."""

    number: int
    body: str
    attributes: dict[str, Any]
    sent: int
    visible_at: int
    receive_count: int = 0
    deleted: bool = False
    duplicates: int = 0

    @property
    def message_id(self) -> str:
        return str(UUID(int=self.number))

    @property
    def handle(self) -> str:
        """The receipt handle of its newest delivery, the only one that still does anything."""
        return f"{self.message_id} delivery-{self.receive_count}"


@dataclass
class SimulatedSqs:
    """Two standard queues; times are in whole seconds since the epoch.

    `max_receive_count` is the redrive policy of QUEUE, with DEAD_LETTER_QUEUE as its target; None is no policy.
    """

    max_receive_count: int | None = None
    now: int = START
    queues: dict[str, list[Stored]] = field(default_factory=lambda: {QUEUE: [], DEAD_LETTER_QUEUE: []})
    expired: list[Stored] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)
    _numbers: int = 0

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Entry]) -> dict[str, Any]:  # noqa: N803
        def send(entry: Entry) -> Entry:
            stored = self.put(QueueUrl, entry["MessageBody"], entry.get("MessageAttributes", {}))
            return {"MessageId": stored.message_id}

        return self._batch("send_message_batch", Entries, send)

    def receive_message(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        MaxNumberOfMessages: int = 1,  # noqa: N803
        VisibilityTimeout: int = 30,  # noqa: N803
        **_asked_for: Any,
    ) -> dict[str, Any]:
        """Does not wait: nothing comes while nobody else moves the clock. All attributes come, as the product asks."""

        def describe(stored: Stored) -> Entry:
            system = {"SentTimestamp": str(stored.sent * 1000), "ApproximateReceiveCount": str(stored.receive_count)}
            message = {
                "MessageId": stored.message_id,
                "ReceiptHandle": stored.handle,
                "Body": stored.body,
                "Attributes": system,
            }
            return {**message, "MessageAttributes": stored.attributes} if stored.attributes else message

        deliveries = self._deliveries(QueueUrl, VisibilityTimeout)
        messages = [describe(stored) for stored in islice(deliveries, MaxNumberOfMessages)]
        _answer(self.faults.pop("receive_message", None))
        return {"Messages": messages} if messages else {}

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Entry]) -> dict[str, Any]:  # noqa: N803
        def delete(entry: Entry) -> Entry:
            """With an old handle it succeeds, and deletes nothing (API Reference, DeleteMessage)."""
            stored = self._by_handle(QueueUrl, entry["ReceiptHandle"])
            if stored is None:
                return {"Code": "ReceiptHandleIsInvalid"}
            stored.deleted |= stored.handle == entry["ReceiptHandle"]
            return {}

        return self._batch("delete_message_batch", Entries, delete)

    def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        Entries: Sequence[Entry],  # noqa: N803
    ) -> dict[str, Any]:
        def change(entry: Entry) -> Entry:
            stored = self._by_handle(QueueUrl, entry["ReceiptHandle"])
            if stored is None:
                return {"Code": "ReceiptHandleIsInvalid"}
            if stored.deleted or stored.visible_at <= self.now:
                return {"Code": "MessageNotInflight"}
            if stored.handle == entry["ReceiptHandle"]:
                stored.visible_at = self.now + entry["VisibilityTimeout"]
            return {}

        return self._batch("change_message_visibility_batch", Entries, change)

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Sequence[str]) -> dict[str, Any]:  # noqa: N803
        live = self.live(QueueUrl)
        visible = sum(stored.visible_at <= self.now for stored in live)
        attributes = {
            "QueueArn": f"arn:aws:sqs:simulated:000000000000:{QueueUrl.rsplit('/', 1)[-1]}",
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(len(live) - visible),
            "ApproximateNumberOfMessagesDelayed": "0",
        }
        if self.max_receive_count and QueueUrl == QUEUE:
            attributes["RedrivePolicy"] = json.dumps({"maxReceiveCount": self.max_receive_count})
        return {"Attributes": {name: attributes[name] for name in AttributeNames if name in attributes}}

    def put(self, url: str, body: str, attributes: dict[str, Any]) -> Stored:
        """Sends a message; returns it as it is stored."""
        self._numbers += 1
        stored = Stored(self._numbers, body, attributes, self.now, self.now)
        self.queues[url].append(stored)
        return stored

    def live(self, url: str) -> list[Stored]:
        """What is on a queue: visible or in flight."""
        return [stored for stored in self.queues[url] if not stored.deleted]

    def pass_time(self, seconds: int) -> None:
        """Moves the clock; what is older than the retention is gone for good."""
        self.now += seconds
        for url, stored_ones in self.queues.items():
            old = [stored for stored in stored_ones if stored.sent + RETENTION <= self.now]
            self.queues[url] = [stored for stored in stored_ones if stored not in old]
            self.expired += [stored for stored in old if not stored.deleted]

    def deliver_again(self, stored: Stored) -> None:
        """As a standard queue may: a second time at once, and also after its delete."""
        if stored.deleted:
            stored.deleted, stored.visible_at = False, self.now
        else:
            stored.duplicates, stored.visible_at = stored.duplicates + 1, self.now

    def move_back(self, letter: Stored) -> None:
        """As StartMessageMoveTask does: the same body and attributes, a new id and a new time."""
        letter.deleted = True
        self.put(QUEUE, letter.body, letter.attributes)

    def _deliveries(self, url: str, visibility_timeout: int) -> Iterator[Stored]:
        """Delivers what is visible, one by one, oldest first, and hides it unless a duplicate is due."""
        for stored in list(self.queues[url]):
            while not stored.deleted and stored.visible_at <= self.now:
                if url == QUEUE and self.max_receive_count and stored.receive_count >= self.max_receive_count:
                    self._move_to_dead_letters(stored)
                    break
                stored.receive_count += 1
                if stored.duplicates:
                    stored.duplicates -= 1
                else:
                    stored.visible_at = self.now + visibility_timeout
                yield stored

    def _move_to_dead_letters(self, stored: Stored) -> None:
        """The queue's own redrive policy: the message keeps its id and its time."""
        self.queues[QUEUE].remove(stored)
        self.queues[DEAD_LETTER_QUEUE].append(stored)

    def _by_handle(self, url: str, handle: str) -> Stored | None:
        message_id = handle.split(" ")[0]
        return next((stored for stored in self.queues[url] if stored.message_id == message_id), None)

    def _batch(self, operation: str, entries: Sequence[Entry], act: Callable[[Entry], Entry]) -> dict[str, Any]:
        fault = self.faults.pop(operation, None)
        answer: dict[str, list[Entry]] = {"Successful": [], "Failed": []}
        for position, entry in enumerate(entries):
            refused = fault is Fault.REFUSED and position % 2 == 0
            result = {"Code": "Refused"} if refused else act(entry)
            if "Code" in result:
                answer["Failed"].append({"Id": entry["Id"], "SenderFault": True, **result})
            else:
                answer["Successful"].append({"Id": entry["Id"], **result})
        _answer(fault)
        return answer


def _answer(fault: Fault | None) -> None:
    if fault is Fault.UNANSWERED:
        raise ReadTimeoutError(endpoint_url=QUEUE)
