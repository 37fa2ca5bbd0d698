"""Turns what the AWS SDK raises into one sentence: what is wrong, which setting, what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, SSLError
from botocore.exceptions import ConnectionError as NoConnectionError

from login_pipeline.aws import FAULTS, Fault, error_code, no_answer, not_accepted, sdk_problem
from login_pipeline.errors import ConfigurationError, LoginPipelineError, QueueError
from login_pipeline.settings import MAX_IN_FLIGHT
from login_pipeline.sqs.transport.client import UnreadableResponseError
from login_pipeline.transport_security import is_loopback

# By what OpenSSL or urllib3 says: what is wrong, and what to do.
_TLS = {
    "doesn't match|mismatch": "The certificate of {endpoint} is for another host; correct AWS_ENDPOINT_URL_SQS, and "
    "leave AWS_CA_BUNDLE as it is",
    "CERTIFICATE_VERIFY_FAILED": "No authority that is trusted here signed the certificate of {endpoint}; name the "
    "file of the one that did in AWS_CA_BUNDLE, or correct AWS_ENDPOINT_URL_SQS",
    r"\[Errno|\[X509": "AWS_CA_BUNDLE names a file of certificates that cannot be read; name one in PEM",
}


@contextmanager
def explain_sqs_errors(operation: str, *, setting: str, queue_url: str) -> Iterator[None]:
    """Raises what goes wrong inside as a sentence about `operation` on the queue that `setting` names.

    Raises:
        ConfigurationError: the queue, the region, the endpoint or the credentials are wrong, or nothing responds.
        QueueError: SQS refused the call for another reason.
    """
    try:
        yield
    except UnreadableResponseError:
        raise QueueError(
            f"What responds to {operation} on {queue_url} is not SQS; check that {setting} and AWS_ENDPOINT_URL_SQS "
            "lead to SQS, and not to a proxy or another service"
        ) from None
    except ClientError as error:
        raise _refused(error_code(error), operation, setting, queue_url) from None
    except SSLError as error:
        raise _not_trusted(error) from None
    except (NoConnectionError, HTTPClientError) as error:
        raise no_answer(error, "SQS", "call SQS") from None
    except BotoCoreError as error:
        raise sdk_problem(error, "call SQS") from None
    except RuntimeError:  # what the SDK raises for credentials that are expired when it gets them
        raise ConfigurationError(
            "The AWS credentials were expired when the SDK got them; check this host's clock and what gives them"
        ) from None
    except ValueError:  # what the SDK raises for an endpoint that is no URL
        raise ConfigurationError(
            "AWS_ENDPOINT_URL_SQS is not the URL of an SQS endpoint; for example "
            "AWS_ENDPOINT_URL_SQS=http://127.0.0.1:4566"
        ) from None


def endpoint_in_clear(endpoint: str) -> str | None:
    """What to say of an endpoint to which messages would go in clear; None where they do not."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return None
    return (
        f"Messages, which hold personal data, come in clear over the network from {endpoint}; "
        "name an endpoint with https:// in AWS_ENDPOINT_URL_SQS"
    )


def _not_trusted(error: SSLError) -> ConfigurationError:
    """What is wrong with TLS, by what the SDK says of it."""
    endpoint = str(error.kwargs.get("endpoint_url")).rstrip("/")
    for words, sentence in _TLS.items():
        if re.search(words, str(error)):
            return ConfigurationError(sentence.format(endpoint=endpoint))
    return ConfigurationError(f"{endpoint} does not speak TLS as the AWS SDK does; correct AWS_ENDPOINT_URL_SQS")


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
    if credentials := not_accepted(code):
        return credentials
    if code == "OverLimit":
        return QueueError(
            f"The queue has as many messages in flight as it may have ({MAX_IN_FLIGHT:,}): {queue_url}; stop other "
            "consumers, or wait until what they hold is visible again"
        )
    return QueueError(f"SQS refused {operation} on {queue_url} ({code}); the messages stay on the queue")
