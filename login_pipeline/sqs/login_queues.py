"""The login queue and its dead-letter queue, as a run uses them, for no longer than its messages are hidden."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from threading import Event
from typing import TYPE_CHECKING

import boto3
import botocore.session
import dagster as dg
from botocore.config import Config
from botocore.httpsession import get_cert_path
from dagster_aws.utils import ResourceWithBoto3Configuration
from pydantic import Field, PrivateAttr

from login_pipeline.errors import ConfigurationError, RunError
from login_pipeline.logs.setup import run_log
from login_pipeline.settings import Settings, SqsClient, read_settings, variable
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.batches import Entry
from login_pipeline.sqs.errors import explain_sqs_errors
from login_pipeline.sqs.queue import QueueDepth, SqsQueue
from login_pipeline.sqs.receive import Batch
from login_pipeline.sqs.transport.curl import LibcurlSqs
from login_pipeline.sqs.transport.curl_session import Connection

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CONNECT_SECONDS = 5
ANSWER_SECONDS = 15
"""How much longer than a long poll SQS may take to answer: an empty poll is no time-out."""
HAND_BACK_DELAY = 10
"""Seconds after which a message that a run could not finish is delivered again; doubled with each delivery."""
LONGEST_HAND_BACK_DELAY = 900
FEW_DELIVERIES = 10
"""A queue that moves messages away after fewer takes good ones for bad when a few runs in a row are cut off."""
STALE = 0.8
"""The part of the visibility timeout after which a run loads nothing of what it received."""


class LoginQueueResource(ResourceWithBoto3Configuration):
    """The login queue and its dead-letter queue.

    Their URLs and limits are settings (LOGIN_QUEUE_URL and others), read when a run starts. Messages that are
    not deleted when the run ends, however it ends, go back to the queue.
    """

    calls: int | None = Field(default=None, ge=1, description="Calls to SQS at once; without it LOGIN_SQS_CALLS.")
    read_timeout: int | None = Field(
        default=None, ge=1, description="Seconds to wait for an answer; where it is not set, 15 more than a long poll."
    )

    _stale_at: float | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LoginQueueResource"]:
        """One run's use of the queue."""
        try:
            yield self
        finally:
            in_hand, not_taken = self.hand_back()
            if in_hand:
                _tell(context, in_hand, not_taken)
            if self._stale_at is not None and self._libcurl and self._libcurl.failures:
                run_log(context).warning("left_to_boto3", calls=dict(self._libcurl.failures))

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
            QueueError: SQS does not answer.
        """
        if self.login_queue.arn == self.dead_letter_queue.arn:
            raise ConfigurationError(
                "LOGIN_DEAD_LETTER_QUEUE_URL names the same queue as LOGIN_QUEUE_URL: malformed messages would go "
                "round for ever; name a queue of its own"
            )

    def depth(self) -> QueueDepth:
        """How many messages are on the login queue; raises as `check` does."""
        return self.login_queue.depth()

    @property
    def endpoint(self) -> str:
        """The URL at which SQS is called; raises as `login_queue` does."""
        with explain_sqs_errors("GetQueueAttributes", setting=variable("queue_url"), queue_url=""):
            return self._client.meta.endpoint_url

    def receive(self) -> Batch:
        """Receives one batch of LOGIN_BATCH_SIZE messages at most; raises as `check` does."""
        self._stale_at = time.monotonic() + STALE * self._settings.visibility_timeout
        return self.login_queue.receive(self._settings.batch_size)

    def seconds_to_load(self) -> float:
        """Seconds left in which what was received may be loaded.

        Raises:
            RunError: none; the messages are about to be delivered to another run.
        """
        left = (self._stale_at or float("inf")) - time.monotonic()
        if left <= 0:
            raise RunError(
                f"The run took over {STALE:.0%} of LOGIN_VISIBILITY_TIMEOUT ({self._settings.visibility_timeout} s); "
                "what is not loaded yet goes back to the queue; raise it or lower LOGIN_BATCH_SIZE"
            )
        return left

    def delete(self, receipt_handles: Iterable[str], hurry: Event | None = None) -> dict[str, int]:
        """Deletes messages that are loaded or on the dead-letter queue, for good.

        Args:
            receipt_handles: Those of the messages.
            hurry: Once it is set, no more calls are made.

        Returns:
            How many could not be deleted, by SQS's error code. They are delivered again.
        """
        return self.login_queue.delete(receipt_handles, hurry)

    def send_dead_letters(self, dead_letters: Sequence[Entry], hurry: Event | None = None) -> dict[int, str]:
        """Puts messages on the dead-letter queue; arguments and result are those of `SqsQueue.send`."""
        return self.dead_letter_queue.send(dead_letters, hurry)

    def hand_back(self) -> tuple[int, dict[str, int]]:
        """Gives back to the queue what the run still has in hand. A signal meanwhile waits until that is done.

        Returns:
            How many messages that were, and how many SQS did not take, by its error code.
        """
        if self._stale_at is None:  # nothing was received
            return 0, {}
        with deferred_interrupts():
            return self.login_queue.in_hand, self.login_queue.hand_back(hand_back_delay)

    def _queue(self, name: str) -> SqsQueue:
        with explain_sqs_errors("GetQueueAttributes", setting=variable(name), queue_url=self._settings.require(name)):
            return SqsQueue(name, self._client, self._settings, most_calls=self._calls, libcurl=self._libcurl)

    @cached_property
    def _settings(self) -> Settings:
        return read_settings()

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            region_name=self.region_name or self._settings.queue_region,
            profile_name=self.profile_name,
            botocore_session=self._core,
        )

    @cached_property
    def _core(self) -> botocore.session.Session:
        return botocore.session.get_session()

    @cached_property
    def _client(self) -> "SQSClient":
        return self._session.client(
            "sqs",
            endpoint_url=self.endpoint_url,
            use_ssl=self.use_ssl,
            verify=None if self.verify else False,  # None lets the SDK's own AWS_CA_BUNDLE decide
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=self._read_timeout,
                max_pool_connections=self._calls,
                retries={"mode": "standard", "total_max_attempts": self.max_attempts},
                parameter_validation=False,  # ours are right by construction; it costs a tenth of a call
                user_agent_extra=f"login-pipeline/{version('login-pipeline')}",
            ),
        )

    @cached_property
    def _libcurl(self) -> LibcurlSqs | None:
        if self._settings.sqs_client is SqsClient.BOTO3:
            return None
        named = self._core.get_config_variable("ca_bundle") or os.getenv("REQUESTS_CA_BUNDLE")  # as botocore does
        bundle = (named or get_cert_path(verify=True)) if self.verify else None
        connection = Connection(CONNECT_SECONDS, self._read_timeout, bundle)
        return LibcurlSqs(self._client, self._session.get_credentials(), connection)

    @property
    def _calls(self) -> int:
        return self.calls or self._settings.sqs_calls

    @property
    def _read_timeout(self) -> int:
        return self.read_timeout or self._settings.long_poll + ANSWER_SECONDS


def hand_back_delay(receive_count: int) -> int:
    """Seconds until a message that a run gave back is delivered again."""
    return int(min(HAND_BACK_DELAY * 2 ** min(receive_count - 1, 30), LONGEST_HAND_BACK_DELAY))


def _tell(context: dg.InitResourceContext, in_hand: int, not_taken: dict[str, int]) -> None:
    run_log(context).warning("handed_back", messages=in_hand, not_taken=not_taken)
    if context.log is not None:
        later = f"; not taken: {not_taken}, they come back by the visibility timeout" if not_taken else ""
        context.log.warning(f"{in_hand} messages that this run did not finish went back to the queue{later}")


def few_deliveries(max_receive_count: int | None) -> str | None:
    """What to say about a redrive policy that could move good messages away; None where there is nothing to say."""
    if max_receive_count is None or max_receive_count >= FEW_DELIVERIES:
        return None
    return (
        f"The redrive policy of LOGIN_QUEUE_URL moves a message away after {max_receive_count} deliveries; a few runs "
        f"that are cut off would cost good ones; raise its maxReceiveCount to {FEW_DELIVERIES} or more"
    )
