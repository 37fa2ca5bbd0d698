"""Turns what the AWS SDK raises into one sentence: what is wrong, which setting, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from login_pipeline.aws import FAULTS, Fault, error_code, explain_sdk_errors
from login_pipeline.errors import ConfigurationError, LoginPipelineError, QueueError
from login_pipeline.settings import MAX_IN_FLIGHT
from login_pipeline.sqs.transport.client import UnreadableResponseError
from login_pipeline.transport_security import is_loopback


@contextmanager
def explain_sqs_errors(operation: str, *, setting: str, queue_url: str) -> Iterator[None]:
    """Raises what goes wrong inside as a sentence about `operation` on the queue that `setting` names.

    Raises:
        ConfigurationError: the queue, the region, the endpoint or the credentials are wrong, or nothing responds.
        QueueError: SQS refused the call for another reason.
    """
    try:
        with explain_sdk_errors("SQS", "call SQS"):
            try:
                yield
            except UnreadableResponseError:
                raise QueueError(
                    f"What responds to {operation} on {queue_url} is not SQS; check that {setting} and "
                    "AWS_ENDPOINT_URL_SQS lead to SQS, and not to a proxy or another service"
                ) from None
    except ClientError as error:
        raise _refused(error_code(error), operation, setting, queue_url) from None


def endpoint_in_clear(endpoint: str) -> str | None:
    """What to say of an endpoint to which messages would go in clear; None where they do not."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return None
    return (
        f"Messages, which hold personal data, come in clear over the network from {endpoint}; "
        "name an endpoint with https:// in AWS_ENDPOINT_URL_SQS"
    )


def _refused(code: str, operation: str, setting: str, queue_url: str) -> LoginPipelineError:
    fault = FAULTS.get(code)
    if fault is Fault.NOT_FOUND:
        return ConfigurationError(
            f"{setting} names a queue that does not exist: {queue_url}; create it, or correct the URL or AWS_REGION"
        )
    if fault is Fault.NOT_ALLOWED:
        return ConfigurationError(
            f"The AWS credentials may not call sqs:{operation} on {queue_url}; allow it in their policy"
        )
    if fault is Fault.OVER_LIMIT:
        return QueueError(
            f"The queue has as many messages in flight as it may have ({MAX_IN_FLIGHT:,}): {queue_url}; stop other "
            "consumers, or wait until what they hold is visible again"
        )
    return QueueError(f"SQS refused {operation} on {queue_url} ({code}); the messages stay on the queue")
