"""One SQS queue: receive, delete, hand back, send, count; and which of its messages are in hand."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

from login_pipeline.errors import LoginPipelineError, QueueError
from login_pipeline.settings import Settings, variable
from login_pipeline.sqs.batches import Entry, call_in_batches
from login_pipeline.sqs.concurrency import Concurrency
from login_pipeline.sqs.errors import explain_sqs_errors
from login_pipeline.sqs.message import Answer, Message
from login_pipeline.sqs.receive import Batch, receive_batch
from login_pipeline.sqs.transport.curl import LibcurlSqs

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

BY_ONE_THREAD = 16
"""Calls that a thread makes at once with libcurl: they cost less together, and threads wait for each other."""

_COUNTS: Sequence["QueueAttributeNameType"] = (
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
    """The queue that the setting `name` names.

    The calls that a run makes by the thousand are those of `libcurl`; without it of `client`, as all others are.
    A message is in hand from its receipt until it is deleted or handed back.
    """

    def __init__(
        self,
        name: str,
        client: "SQSClient",
        settings: Settings,
        *,
        most_calls: int,
        libcurl: LibcurlSqs | None = None,
    ) -> None:
        self.url: str = settings.require(name)
        self._variable = variable(name)
        self._client = client
        self._libcurl = libcurl
        self._settings = settings
        by_libcurl = LibcurlSqs.OPERATIONS if libcurl else ()
        self._concurrency = defaultdict[str, Concurrency](lambda: Concurrency(most_calls))
        self._concurrency |= {each: Concurrency(most_calls, by_one_thread=BY_ONE_THREAD) for each in by_libcurl}
        self._receive_counts: dict[str, int] = {}

    @property
    def in_hand(self) -> int:
        """How many messages are in hand."""
        return len(self._receive_counts)

    def depth(self) -> QueueDepth:
        """How many messages are on the queue; raises as `attributes` does."""
        return QueueDepth(*map(int, self.attributes(_COUNTS)))

    @property
    def arn(self) -> str:
        """The queue's name in all of AWS, whatever its URL; raises as `attributes` does."""
        return self.attributes(["QueueArn"])[0]

    def attributes(self, names: Sequence["QueueAttributeNameType"]) -> list[str]:
        """The values of these attributes, which every queue has, in their order; counts have digits only.

        Raises:
            ConfigurationError: the queue, the region or the credentials are missing or wrong, or nobody answers.
            QueueError: SQS refuses, or what answers is not SQS.
        """
        attributes = self._attributes(names)
        values = [attributes.get(name, "") for name in names]
        for name, value in zip(names, values, strict=True):
            if not value or (name in _COUNTS and not (value.isascii() and value.isdigit())):
                raise QueueError(
                    f"SQS did not say {name} of {self.url}; check that {self._variable} and AWS_ENDPOINT_URL_SQS lead "
                    "to SQS, and not to a proxy or another service"
                )
        return values

    @cached_property
    def max_receive_count(self) -> int | None:
        """After how many deliveries SQS itself moves a message away; None where there is no redrive policy."""
        policy = self._attributes(["RedrivePolicy"]).get("RedrivePolicy")
        return int(json.loads(policy)["maxReceiveCount"]) if policy else None

    def receive(self, batch_size: int) -> Batch:
        """Receives so many messages at most, for LOGIN_RECEIVE_DEADLINE at most; raises as `attributes` does."""
        batch = receive_batch(
            self._receive,
            batch_size=batch_size,
            concurrency=self._concurrency["ReceiveMessage"],
            deadline=self._settings.receive_deadline,
        )
        for twin in self._receive_counts.keys() - {message.receipt_handle for message in batch.messages}:
            self._receive_counts[twin] = 1  # left out of the batch, not failed: however often it came, it comes soon
        return batch

    def delete(self, receipt_handles: Iterable[str], hurry: Event | None = None) -> dict[str, int]:
        """Deletes messages for good.

        Args:
            receipt_handles: Those of the messages.
            hurry: Once it is set, no more calls are made.

        Returns:
            How many could not be deleted, by SQS's error code. They are delivered again.
        """
        handles = list(receipt_handles)
        failed = self._in_batches(
            "DeleteMessageBatch",
            self._client.delete_message_batch,
            [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(handles)],
            hurry,
        )
        kept = {int(index) for index in failed}
        for index, handle in enumerate(handles):
            if index not in kept:
                self._receive_counts.pop(handle, None)
        return dict(Counter(failed.values()))

    def hand_back(self, delay: Callable[[int], int]) -> dict[str, int]:
        """Makes the messages in hand visible again.

        Args:
            delay: After how many seconds, by how often the message was received.

        Returns:
            How many SQS did not take back, by its error code. They come back by their visibility timeout.
        """
        failed = self._in_batches(
            "ChangeMessageVisibilityBatch",
            self._client.change_message_visibility_batch,
            [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": delay(receive_count)}
                for index, (handle, receive_count) in enumerate(list(self._receive_counts.items()))
            ],
        )
        self._receive_counts.clear()
        return dict(Counter(failed.values()))

    def send(self, messages: Sequence[Entry], hurry: Event | None = None) -> dict[int, str]:
        """Sends messages.

        Args:
            messages: As SendMessageBatch takes them, without an Id.
            hurry: Once it is set, no more calls are made.

        Returns:
            The error code of each message that was not sent, by its position.
        """
        failed = self._in_batches(
            "SendMessageBatch",
            self._client.send_message_batch,
            [{"Id": str(index), **message} for index, message in enumerate(messages)],
            hurry,
        )
        return {int(index): code for index, code in failed.items()}

    def _attributes(self, names: Sequence["QueueAttributeNameType"]) -> Mapping[Any, str]:
        with explain_sqs_errors("GetQueueAttributes", setting=self._variable, queue_url=self.url):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return answer.get("Attributes", {})

    def _receive(self, sizes: Sequence[int]) -> list[list[Message]]:
        """Long-polls; what came is in hand, also where some of the calls failed."""
        requests = [self._poll(size) for size in sizes]
        polls = []
        left = []
        for request, (answer, seconds) in zip(requests, self._by_libcurl(requests), strict=True):
            if answer is None:
                left.append(request)
            else:
                polls.append(self._take_in_hand(answer, seconds))
        for request in left:
            try:
                polls.append(self._receive_by_boto3(request))
            except LoginPipelineError:
                if not polls:
                    raise
                break  # the next call says it again
            if not polls[-1]:
                break  # the others would wait in vain, one after another
        return polls

    def _receive_by_boto3(self, request: dict[str, Any]) -> list[Message]:
        started = time.monotonic()
        with explain_sqs_errors("ReceiveMessage", setting=self._variable, queue_url=self.url):
            answer = self._client.receive_message(**request)
        return self._take_in_hand(Answer.from_boto3(answer), time.monotonic() - started)

    def _by_libcurl(self, requests: Sequence[dict[str, Any]]) -> Sequence[tuple[Answer | None, float]]:
        if self._libcurl is None:
            return [(None, 0.0)] * len(requests)
        answers = self._libcurl.receive(requests)
        self._together("ReceiveMessage", [answer for answer, _ in answers])
        return answers

    def _together(self, operation: str, answers: Sequence[object]) -> None:
        """Where libcurl got no answer to several calls, boto3 makes them: each is to have a thread of its own."""
        answered = any(answer is not None for answer in answers)
        if answered or len(answers) > 1:
            self._concurrency[operation].together(answered)

    def _poll(self, messages: int) -> dict[str, Any]:
        return {
            "QueueUrl": self.url,
            "MaxNumberOfMessages": messages,
            "WaitTimeSeconds": self._settings.long_poll,
            "VisibilityTimeout": self._settings.visibility_timeout,
            "MessageSystemAttributeNames": ["SentTimestamp", "ApproximateReceiveCount"],
            "MessageAttributeNames": ["All"],
        }

    def _take_in_hand(self, answer: Answer, seconds: float) -> list[Message]:
        received = [Message.from_sqs(message) for message in answer.messages]
        if received:
            self._receive_counts.update({message.receipt_handle: message.receive_count for message in received})
            self._concurrency["ReceiveMessage"].answered(seconds)
        return received

    def _in_batches(
        self, operation: str, call: Callable[..., Mapping[str, Any]], entries: list[Entry], hurry: Event | None = None
    ) -> dict[str, str]:
        """Calls one of SQS's batch operations; the failed entries' codes."""
        concurrency = self._concurrency[operation]

        def once(batch: Sequence[Entry]) -> Mapping[str, Any]:
            started = time.monotonic()
            answer = call(QueueUrl=self.url, Entries=batch)
            concurrency.answered(time.monotonic() - started)
            return answer

        def several(batches: Sequence[Sequence[Entry]]) -> list[Mapping[str, Any] | None]:
            if self._libcurl is None or operation not in LibcurlSqs.CHANGES:
                return [None] * len(batches)
            answers = self._libcurl.change(operation, [{"QueueUrl": self.url, "Entries": batch} for batch in batches])
            for answer, seconds in answers:
                if answer is not None:
                    concurrency.answered(seconds)
            self._together(operation, [answer for answer, _ in answers])
            return [answer for answer, _ in answers]

        return call_in_batches(once, entries, concurrency=concurrency, several=several, hurry=hurry)
