"""Queues of its own at an endpoint that somebody else runs: AWS, LocalStack or the like; deleted after each run."""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.environment import environment_of
from benchmarks.messages import bodies, sent
from benchmarks.queues import Left, sdk_region
from login_pipeline.aws import error_code
from login_pipeline.errors import ConfigurationError
from login_pipeline.local.sqs import REGION, sdk_environment

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

THREADS = 16
COUNTS: Sequence["QueueAttributeNameType"] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class GivenBacklog:
    """Queues with names of their own at somebody's endpoint."""

    def __init__(self, client: "SQSClient", environment: dict[str, str], messages: int) -> None:
        self._client = client
        self.sent = sent(messages)
        name = f"bench-{uuid.uuid4().hex}"
        self.url = client.create_queue(QueueName=name)["QueueUrl"]
        self.dead_letter_url = client.create_queue(QueueName=f"{name}-dead-letter")["QueueUrl"]
        self.environment = {
            **environment,
            "LOGIN_QUEUE_URL": self.url,
            "LOGIN_DEAD_LETTER_QUEUE_URL": self.dead_letter_url,
        }

    def fill(self, messages: int) -> None:
        """Sends the messages.

        Raises:
            ConfigurationError: the server does not take them all.
        """
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies(messages, seed=1))
        ]
        with ThreadPoolExecutor(THREADS) as pool:
            refused = sum(pool.map(self._send, (entries[at : at + 10] for at in range(0, len(entries), 10))))
        if refused:
            raise ConfigurationError(
                f"--endpoint-url took {messages - refused} of {messages} messages; look at the server, and at the "
                "permission sqs:SendMessage"
            )

    def left(self) -> Left:
        """What SQS counts, once it has seen its last deletes: its counts are late by up to a minute."""
        until = time.monotonic() + 60
        while (left := Left(self._count(self.url), self._count(self.dead_letter_url))).on_queue:
            if time.monotonic() > until:
                break
            time.sleep(1)
        return left

    def is_empty(self) -> bool:
        """Whether SQS counts nothing now."""
        return not self._count(self.url)

    def cpu_seconds(self) -> None:
        """Not seen from here."""

    def delete(self) -> None:
        """Deletes both queues."""
        for url in (self.url, self.dead_letter_url):
            self._client.delete_queue(QueueUrl=url)

    def _send(self, entries: "list[SendMessageBatchRequestEntryTypeDef]") -> int:
        """How many of these were refused."""
        return len(self._client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed", []))

    def _count(self, url: str) -> int:
        attributes = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return sum(int(attributes[name]) for name in COUNTS)


class GivenQueues:
    """An endpoint that somebody else runs: AWS, LocalStack or the like."""

    def __init__(self, endpoint: str) -> None:
        self._environment = _sdk_environment(endpoint)
        try:
            with environment_of({**os.environ, **self._environment}):
                self._client = boto3.Session().client("sqs", config=Config(max_pool_connections=THREADS))
            self._client.list_queues(QueueNamePrefix="bench-", MaxResults=1)
        except ClientError as error:
            raise ConfigurationError(
                f"--endpoint-url {endpoint} refused ListQueues ({error_code(error)}); check the credentials and the "
                "permissions sqs:ListQueues, CreateQueue, DeleteQueue and SendMessage"
            ) from None
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(
                f"Nobody speaks SQS at --endpoint-url {endpoint} ({type(error).__name__}); start the server, or "
                "correct the URL, the region and the credentials"
            ) from None

    @contextmanager
    def backlog(self, messages: int, latency_ms: int | None) -> Iterator[GivenBacklog]:
        """At whatever latency the endpoint has. The queues are deleted at the end."""
        backlog = GivenBacklog(self._client, self._environment, messages)
        try:
            backlog.fill(messages)
            yield backlog
        finally:
            backlog.delete()


def _sdk_environment(endpoint: str) -> dict[str, str]:
    """The SDK's own credentials where there are any; else those that a server on a desk takes."""
    session = boto3.Session()
    environment = dict(sdk_environment(endpoint)) if session.get_credentials() is None else {}
    host = (urlsplit(endpoint).hostname or "").split(".")
    of_endpoint = host[1] if host[0] == "sqs" and "amazonaws" in host else REGION
    region = session.region_name or os.getenv("AWS_REGION") or of_endpoint
    return environment | sdk_region(region) | {"AWS_ENDPOINT_URL_SQS": endpoint}
