"""The SQS queue of login messages and its dead-letter queue: receive, delete, quarantine, hand back, send."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import dagster as dg
from botocore.config import Config
from dagster_aws.utils import ResourceWithBoto3Configuration
from pydantic import Field, PrivateAttr

from login_pipeline.errors import ConfigurationError, RunError
from login_pipeline.resources.sqs_batches import Entry, call_in_batches
from login_pipeline.resources.sqs_errors import explain_sqs_errors
from login_pipeline.resources.sqs_messages import Message
from login_pipeline.resources.sqs_receive import Batch, receive_batch
from login_pipeline.settings import Settings, read_settings, variable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

HAND_BACK_DELAY = 10
"""Seconds after which messages that a run could not finish are delivered again."""
STALE = 0.8
"""The part of the visibility timeout after which a run loads nothing of what it received."""

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


class Moved(NamedTuple):
    """Messages that were sent to the dead-letter queue and deleted, and how many were not sent, by error code."""

    deleted: int
    not_sent: dict[str, int]


class LoginQueueResource(ResourceWithBoto3Configuration):
    """The login queue and its dead-letter queue.

    Their URLs and limits are settings (LOGIN_QUEUE_URL and others), read when a run starts. The resource knows
    which messages the run has in hand; those that are not deleted when the run ends, however it ends, it hands
    back to the queue.
    """

    threads: int = Field(default=16, ge=1, le=128, description="Calls to SQS at once.")

    _in_hand: set[str] = PrivateAttr(default_factory=set)
    _stale_at: float = PrivateAttr(default=float("inf"))

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LoginQueueResource"]:
        """One run's use of the queue."""
        try:
            yield self
        finally:
            if self._in_hand and context.log is not None:
                context.log.warning(f"Handing {len(self._in_hand)} messages back to the queue, not done with them")
            self.hand_back()

    def check(self) -> None:
        """Asks both queues for their attributes, and receives nothing.

        Raises:
            ConfigurationError: a queue, the region or the credentials are missing or wrong.
            QueueError: SQS does not answer.
        """
        if self._attributes("queue_url", ["QueueArn"]) == self._attributes("dead_letter_queue_url", ["QueueArn"]):
            raise ConfigurationError(
                "LOGIN_DEAD_LETTER_QUEUE_URL names the same queue as LOGIN_QUEUE_URL: malformed messages would go "
                "round for ever; name a queue of its own"
            )

    def depth(self) -> QueueDepth:
        """How many messages are on the login queue; raises as `check` does."""
        return self._depth("queue_url")

    def dead_letter_depth(self) -> QueueDepth:
        """How many messages are on the dead-letter queue; raises as `check` does."""
        return self._depth("dead_letter_queue_url")

    def receive(self) -> Batch:
        """Receives one batch of LOGIN_BATCH_SIZE messages at most; raises as `check` does."""
        settings = self._settings
        self._stale_at = time.monotonic() + STALE * settings.visibility_timeout
        return receive_batch(
            self._receive_once,
            batch_size=settings.batch_size,
            threads=self.threads,
            deadline=settings.receive_deadline,
        )

    def seconds_to_load(self) -> float:
        """Seconds left in which what was received may be loaded.

        Raises:
            RunError: none; the messages are about to be delivered to another run.
        """
        left = self._stale_at - time.monotonic()
        if left <= 0:
            raise RunError(
                f"The run took over {STALE:.0%} of LOGIN_VISIBILITY_TIMEOUT ({self._settings.visibility_timeout} s); "
                "nothing was loaded and the messages go back to the queue; raise it or lower LOGIN_BATCH_SIZE"
            )
        return left

    def delete(self, receipt_handles: Iterable[str]) -> dict[str, int]:
        """Deletes messages that are loaded or moved, for good.

        Returns:
            How many could not be deleted, by SQS's error code. They are delivered again.
        """
        handles = list(receipt_handles)
        failed = self._in_batches(
            "queue_url",
            self._client.delete_message_batch,
            [{"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(handles)],
        )
        self._in_hand -= {handle for index, handle in enumerate(handles) if str(index) not in failed}
        return dict(Counter(failed.values()))

    def quarantine(self, dead_letters: Sequence[Entry], receipt_handles: Sequence[str]) -> Moved:
        """Puts each message on the dead-letter queue, and deletes from the login queue those that arrived there.

        Raises:
            ConfigurationError: LOGIN_DEAD_LETTER_QUEUE_URL is not set.
        """
        failed = self._in_batches(
            "dead_letter_queue_url",
            self._client.send_message_batch,
            [{"Id": str(index), **letter} for index, letter in enumerate(dead_letters)],
        )
        sent = [handle for index, handle in enumerate(receipt_handles) if str(index) not in failed]
        not_deleted = self.delete(sent)
        return Moved(len(sent) - sum(not_deleted.values()), dict(Counter(failed.values())))

    def hand_back(self) -> None:
        """Makes what the run still has in hand visible again soon. What fails comes back by its timeout."""
        if not self._in_hand:
            return
        self._in_batches(
            "queue_url",
            self._client.change_message_visibility_batch,
            [
                {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": HAND_BACK_DELAY}
                for index, handle in enumerate(self._in_hand)
            ],
        )
        self._in_hand = set()

    def send(self, bodies: Sequence[str]) -> dict[int, str]:
        """Sends each body as a message of its own, exactly as it is.

        Returns:
            The error code of each body that SQS refused, by its position.
        """
        failed = self._in_batches(
            "queue_url",
            self._client.send_message_batch,
            [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)],
        )
        return {int(index): code for index, code in failed.items()}

    def _receive_once(self, messages: int) -> list[Message]:
        settings = self._settings
        with self._queue("queue_url", "ReceiveMessage") as url:
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=messages,
                WaitTimeSeconds=settings.long_poll,
                VisibilityTimeout=settings.visibility_timeout,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            )
        received = [Message.from_sqs(message) for message in answer.get("Messages", [])]
        self._in_hand.update(message.receipt_handle for message in received)
        return received

    def _depth(self, setting: str) -> QueueDepth:
        attributes = self._attributes(setting, _COUNTS)
        return QueueDepth(*(int(attributes.get(count, 0)) for count in _COUNTS))

    def _attributes(self, setting: str, names: Sequence["QueueAttributeNameType"]) -> Mapping[Any, str]:
        with self._queue(setting, "GetQueueAttributes") as url:
            answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return answer.get("Attributes", {})

    def _in_batches(self, setting: str, call: Callable[..., Mapping[str, Any]], entries: list[Entry]) -> dict[str, str]:
        """Calls one of SQS's batch operations on the queue that `setting` names; the failed entries' codes."""
        url = self._settings.require(setting)
        return call_in_batches(lambda batch: call(QueueUrl=url, Entries=batch), entries, threads=self.threads)

    @contextmanager
    def _queue(self, setting: str, operation: str) -> Iterator[str]:
        """The URL of the queue that `setting` names; what goes wrong with it inside is explained."""
        url = self._settings.require(setting)
        with explain_sqs_errors(operation, setting=variable(setting), queue_url=url):
            yield url

    @cached_property
    def _settings(self) -> Settings:
        return read_settings()

    @cached_property
    def _client(self) -> "SQSClient":
        session = boto3.Session(
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            region_name=self.region_name or self._settings.queue_region,
            profile_name=self.profile_name,
        )
        return session.client(
            "sqs",
            endpoint_url=self.endpoint_url,
            use_ssl=self.use_ssl,
            verify=None if self.verify else False,  # None lets the SDK's own AWS_CA_BUNDLE decide
            config=Config(
                connect_timeout=5,
                read_timeout=self._settings.long_poll + 15,  # an empty long poll is no time-out
                max_pool_connections=self.threads,
                retries={"mode": "standard", "total_max_attempts": self.max_attempts},
                parameter_validation=False,  # ours are right by construction; it costs a tenth of a call
            ),
        )
