"""One SQS queue: receive, delete, release, send, count; and which of its messages are held."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from threading import Event
from typing import Any, NamedTuple, NoReturn

from login_pipeline.errors import QueueError
from login_pipeline.settings import SettingName, Settings, variable
from login_pipeline.sqs.batches import Entry, call_in_batches
from login_pipeline.sqs.errors import explain_sqs_errors
from login_pipeline.sqs.message import Message, ReceiveResponse
from login_pipeline.sqs.receive import Batch, receive_batch
from login_pipeline.sqs.transport.client import (
    CHANGE_VISIBILITY,
    DELETE,
    GET_ATTRIBUTES,
    RECEIVE,
    SEND,
    AttributesResponse,
    BatchResponse,
    CallError,
    Operation,
    Request,
)
from login_pipeline.sqs.transport.curl import CurlTransport
from login_pipeline.sqs.worker_pool import WorkerPool

# How long one ReceiveMessage waits for messages: from 1 second on SQS asks all of its servers.
#
# Source: Amazon SQS Developer Guide, "Amazon SQS short and long polling".
LONG_POLL_SECONDS = 1
# After so many seconds a run loads what it has received, so that rows do not wait for a full batch.
MAX_RECEIVE_SECONDS = 60
# Also after this part of the visibility timeout: the rest is for loading, before what came first is visible again.
MAX_RECEIVE_FRACTION = 0.25

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class QueueDepth(NamedTuple):
    """How many messages SQS says are on a queue: approximate, and up to a minute late."""

    visible: int
    in_flight: int
    delayed: int


class SqsQueue:
    """The queue that the setting `name` names. A message is held from its receipt until it is deleted or released."""

    def __init__(self, name: SettingName, settings: Settings, transport: CurlTransport) -> None:
        self.url: str = settings.require(name)
        self._variable = variable(name)
        self._settings = settings
        self._transport = transport
        self._workers = WorkerPool(settings.sqs_calls)
        self._receive_counts: dict[str, int] = {}

    @property
    def held(self) -> int:
        """How many messages are held."""
        return len(self._receive_counts)

    def depth(self) -> QueueDepth:
        """How many messages are on the queue.

        Raises:
            ConfigurationError: the queue, the region or the credentials are missing or wrong, or nothing responds.
            QueueError: SQS refuses, or what responds is not SQS.
        """
        attributes = self._attributes(_COUNTS)
        return QueueDepth(*(int(self._said(name, attributes, r"[0-9]+")) for name in _COUNTS))

    @property
    def arn(self) -> str:
        """The queue's name in all of AWS; raises as `depth` does."""
        return self._said("QueueArn", self._configuration, ".+")

    @property
    def max_receive_count(self) -> int | None:
        """After how many deliveries SQS itself moves a message away; None where there is no redrive policy."""
        policy = self._configuration.get("RedrivePolicy")
        return int(json.loads(policy)["maxReceiveCount"]) if policy else None

    @property
    def max_message_size(self) -> int | None:
        """Bytes of the largest message that it takes, attributes included; None where an emulator has no limit."""
        size = self._configuration.get("MaximumMessageSize")
        return int(size) if size else None

    def receive(self, batch_size: int) -> Batch:
        """Receives so many messages at most, for MAX_RECEIVE_SECONDS at most; raises as `depth` does."""
        batch = receive_batch(
            self._receive,
            batch_size=batch_size,
            workers=self._workers,
            deadline=min(MAX_RECEIVE_SECONDS, MAX_RECEIVE_FRACTION * self._settings.visibility_timeout),
        )
        for twin in self._receive_counts.keys() - {message.receipt_handle for message in batch.messages}:
            self._receive_counts[twin] = 1  # left out of the batch, not failed: however often it came, it comes soon
        return batch

    def delete(self, receipt_handles: Iterable[str], stop: Event | None = None) -> dict[str, int]:
        """Deletes messages for good; once `stop` is set, no more calls are made.

        Returns:
            How many could not be deleted, by SQS's error code. They are delivered again.
        """
        entries = [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(receipt_handles)]
        failed = self._in_batches(DELETE, entries, stop)
        for entry in entries:
            if entry["Id"] not in failed:
                self._receive_counts.pop(entry["ReceiptHandle"], None)
        return dict(Counter(failed.values()))

    def release(self, delay: Callable[[int], int]) -> dict[str, int]:
        """Makes the held messages visible again, each `delay` seconds, by its receive count, from now.

        Returns:
            How many SQS did not take back, by its error code. They come back by their visibility timeout.
        """
        entries = [
            {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": delay(receive_count)}
            for index, (handle, receive_count) in enumerate(list(self._receive_counts.items()))
        ]
        failed = self._in_batches(CHANGE_VISIBILITY, entries)
        self._receive_counts.clear()
        return dict(Counter(failed.values()))

    def send(self, messages: Sequence[Entry], stop: Event | None = None) -> dict[int, str]:
        """Sends messages, in SendMessageBatch's form without an Id; once `stop` is set, no more calls are made.

        Returns:
            The error code of each message that was not sent, by its position.
        """
        failed = self._in_batches(SEND, [{"Id": str(index), **message} for index, message in enumerate(messages)], stop)
        return {int(index): code for index, code in failed.items()}

    @cached_property
    def _configuration(self) -> Mapping[str, str]:
        return self._attributes(["QueueArn", "RedrivePolicy", "MaximumMessageSize"])

    def _attributes(self, names: Sequence[str]) -> Mapping[str, str]:
        request = {"QueueUrl": self.url, "AttributeNames": names}
        (outcome,) = self._transport.call_many(GET_ATTRIBUTES, [request])
        if not isinstance(outcome, AttributesResponse):
            self._raise(outcome, GET_ATTRIBUTES)
        return outcome.attributes

    def _said(self, name: str, attributes: Mapping[str, str], form: str) -> str:
        """The value of an attribute that every queue has."""
        if not re.fullmatch(form, value := attributes.get(name, "")):
            raise QueueError(
                f"SQS did not say {name} of {self.url}; check that {self._variable} and AWS_ENDPOINT_URL_SQS lead to "
                "SQS, and not to a proxy or another service"
            )
        return value

    def _receive(self, sizes: Sequence[int]) -> list[list[Message]]:
        """Long-polls; what came is held, also where some of the calls failed. Raises where all of them did."""
        outcomes = self._transport.call_many(RECEIVE, [self._poll(size) for size in sizes])
        responses = [outcome for outcome in outcomes if isinstance(outcome, ReceiveResponse)]
        for outcome in outcomes:
            if not responses and not isinstance(outcome, ReceiveResponse):
                self._raise(outcome, RECEIVE)
        envelope = self._settings.envelope
        polls = [[Message.from_sqs(message, envelope) for message in response.messages] for response in responses]
        for poll in polls:
            self._receive_counts.update({message.receipt_handle: message.receive_count for message in poll})
        return polls

    def _poll(self, messages: int) -> Request:
        return {
            "QueueUrl": self.url,
            "MaxNumberOfMessages": messages,
            "WaitTimeSeconds": LONG_POLL_SECONDS,
            "VisibilityTimeout": self._settings.visibility_timeout,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
            "MessageAttributeNames": ["All"],
        }

    def _in_batches(
        self, operation: Operation[BatchResponse], entries: list[Entry], stop: Event | None = None
    ) -> dict[str, str]:
        """Calls one of SQS's batch operations; the failed entries' codes."""

        def call_many(batches: Sequence[Sequence[Entry]]) -> Sequence[BatchResponse | CallError]:
            requests = [{"QueueUrl": self.url, "Entries": batch} for batch in batches]
            return self._transport.call_many(operation, requests)

        return call_in_batches(call_many, entries, workers=self._workers, stop=stop)

    def _raise(self, error: CallError, operation: Operation[Any]) -> NoReturn:
        with explain_sqs_errors(operation.name, setting=self._variable, queue_url=self.url):
            raise error
