"""The login queue and its dead-letter queue, as a run uses them, for no longer than its messages are invisible."""

import time
from functools import cached_property

from login_pipeline.errors import ConfigurationError, RunError
from login_pipeline.settings import SettingName, Settings, variable
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.errors import explain_sqs_errors
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline.sqs.receive import Batch
from login_pipeline.sqs.release_delay import release_delay
from login_pipeline.sqs.transport.client import ClientOptions, Sdk
from login_pipeline.sqs.transport.curl import CurlTransport

# A queue that moves messages away after fewer takes good ones for bad when a few runs in a row are cut off.
MIN_DELIVERIES = 10
# The part of the visibility timeout after which a run loads nothing of what it received.
LOAD_DEADLINE_FRACTION = 0.8


class LoginQueues:
    """The login queue and its dead-letter queue, whose URLs and limits are settings (LOGIN_QUEUE_URL and others)."""

    def __init__(self, settings: Settings, options: ClientOptions | None = None) -> None:
        self._settings = settings
        self._sdk = Sdk(settings, options or ClientOptions())
        self._load_until: float | None = None

    @cached_property
    def login_queue(self) -> SqsQueue:
        """The queue that login messages wait on.

        Raises:
            ConfigurationError: LOGIN_QUEUE_URL is not set, or the SDK finds no region or credentials.
        """
        return self._queue("queue_url")

    @cached_property
    def dead_letter_queue(self) -> SqsQueue:
        """The queue of messages that are no logins; raises as `login_queue` does."""
        return self._queue("dead_letter_queue_url")

    def check(self) -> None:
        """Asks both queues for their attributes, and receives nothing.

        Raises:
            ConfigurationError: a queue, the region or the credentials are missing or wrong.
            QueueError: SQS does not respond.
        """
        if self.login_queue.arn == self.dead_letter_queue.arn:
            raise ConfigurationError(
                "LOGIN_DEAD_LETTER_QUEUE_URL names the same queue as LOGIN_QUEUE_URL: malformed messages would go "
                "round forever; name a queue of its own"
            )

    def small_dead_letter_queue(self) -> str | None:
        """What to say where rejects can be too large for the dead-letter queue; None where there is nothing to say."""
        taken, moved = self.login_queue.max_message_size, self.dead_letter_queue.max_message_size
        if taken is None or moved is None or moved >= taken:
            return None
        return (
            f"LOGIN_DEAD_LETTER_QUEUE_URL takes messages of {moved:,} bytes and LOGIN_QUEUE_URL of {taken:,}; a larger "
            "one that is no login stays on the login queue; raise the dead-letter queue's MaximumMessageSize to that"
        )

    @property
    def endpoint(self) -> str:
        """The URL at which SQS is called; raises as `login_queue` does."""
        with explain_sqs_errors("GetQueueAttributes", setting=variable("queue_url"), queue_url=""):
            return self._sdk.client.meta.endpoint_url

    def receive(self) -> Batch:
        """Receives one batch of LOGIN_BATCH_SIZE messages at most; raises as `check` does."""
        self._load_until = time.monotonic() + LOAD_DEADLINE_FRACTION * self._settings.visibility_timeout
        return self.login_queue.receive(self._settings.batch_size)

    def seconds_to_load(self) -> float:
        """Seconds left in which what was received may be loaded.

        Raises:
            RunError: none; the messages are about to be delivered to another run.
        """
        left = (self._load_until or float("inf")) - time.monotonic()
        if left <= 0:
            raise RunError(
                f"The run took over {LOAD_DEADLINE_FRACTION:.0%} of LOGIN_VISIBILITY_TIMEOUT "
                f"({self._settings.visibility_timeout} s); what is not loaded yet goes back to the queue; raise it or "
                "lower LOGIN_BATCH_SIZE"
            )
        return left

    @property
    def left_to_boto3(self) -> dict[str, int]:
        """How many calls libcurl did not make, by the reason (see `CurlTransport`)."""
        return {} if self._load_until is None else dict(self._transport.left_to_boto3)

    def release(self) -> tuple[int, dict[str, int]]:
        """Gives back to the queue what the run still holds; a signal waits until that is done.

        Returns:
            How many messages that were, and how many SQS did not take, by its error code.
        """
        if self._load_until is None:  # nothing was received
            return 0, {}
        with deferred_interrupts():
            return self.login_queue.held, self.login_queue.release(release_delay)

    def _queue(self, name: SettingName) -> SqsQueue:
        with explain_sqs_errors("GetQueueAttributes", setting=variable(name), queue_url=self._settings.require(name)):
            return SqsQueue(name, self._settings, self._transport)

    @cached_property
    def _transport(self) -> CurlTransport:
        return CurlTransport(self._sdk)


def few_deliveries(max_receive_count: int | None) -> str | None:
    """What to say about a redrive policy that could move good messages away; None where there is nothing to say."""
    if max_receive_count is None or max_receive_count >= MIN_DELIVERIES:
        return None
    return (
        f"The redrive policy of LOGIN_QUEUE_URL moves a message away after {max_receive_count} deliveries; a few runs "
        f"that are cut off would cost good ones; raise its maxReceiveCount to {MIN_DELIVERIES} or more"
    )
