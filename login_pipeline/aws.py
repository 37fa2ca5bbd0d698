"""Clients of any AWS service, and what goes wrong with them: credentials, region, configuration, connection."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    ProxyConnectionError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from login_pipeline.errors import ConfigurationError


class Fault(Enum):
    """What an error code of AWS means."""

    CREDENTIALS = "AWS does not accept them"
    NOT_ALLOWED = "the policy of the credentials, or of a KMS key, does not allow it"
    NOT_FOUND = "there is nothing of this name"
    NO_BUCKET = "there is no bucket of this name"
    OVER_LIMIT = "as many messages are in flight as may be"
    ENTRY = "a whole call is refused because of one of its entries"


# The codes of SQS, SNS, Secrets Manager, SSM, S3 and KMS. S3 gives some errors no code but HTTP's status. Source: the
# error lists of their API references.
FAULTS = {
    **dict.fromkeys(
        (
            *("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity"),
            *("InvalidToken", "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException"),
        ),
        Fault.CREDENTIALS,
    ),
    **dict.fromkeys(
        (
            *("AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException", "KmsAccessDenied"),
            *("DecryptionFailure", "DecryptionFailureException", "403", "AuthorizationError", "KMSAccessDenied"),
        ),
        Fault.NOT_ALLOWED,
    ),
    **dict.fromkeys(
        (
            *("QueueDoesNotExist", "NonExistentQueue", "QueueDeletedRecently", "InvalidAddress"),
            *("ResourceNotFoundException", "ParameterNotFound", "NoSuchKey", "NotFound", "404"),
        ),
        Fault.NOT_FOUND,
    ),
    "NoSuchBucket": Fault.NO_BUCKET,
    "OverLimit": Fault.OVER_LIMIT,
    **dict.fromkeys(("BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"), Fault.ENTRY),
}

# By what OpenSSL or urllib3 says: what is wrong, and what to do.
_TLS = {
    "doesn't match|mismatch": "The certificate of {endpoint} is for another host; correct {variable}, and leave "
    "AWS_CA_BUNDLE as it is",
    "CERTIFICATE_VERIFY_FAILED": "No authority that is trusted here signed the certificate of {endpoint}; name the "
    "file of the one that did in AWS_CA_BUNDLE, or correct {variable}",
    r"\[Errno|\[X509": "AWS_CA_BUNDLE names a file of certificates that cannot be read; name one in PEM",
}
_OTHER_TLS = "{endpoint} does not speak TLS as the AWS SDK does; correct {variable}"


def aws_client(service: Literal["rds", "s3", "secretsmanager", "sns", "ssm"], region: str | None, **config: Any) -> Any:
    """A client of the service; without a region the SDK finds one. `config`: what botocore's Config takes.

    Raises:
        BotoCoreError: the SDK is not configured.
        ValueError: the endpoint that a variable names is no URL.
    """
    options = {"retries": {"mode": "standard"}, **config}
    return boto3.Session(region_name=region).client(service, config=Config(**options))


def error_code(error: ClientError) -> str:
    """The error's code without SQS's prefix. The message is left out: it can quote what was sent.

    Some of SQS's codes are documented as `AWS.SimpleQueueService.NonExistentQueue`, and some servers leave that out.
    """
    return str(error.response.get("Error", {}).get("Code", "Unknown")).removeprefix("AWS.SimpleQueueService.")


@contextmanager
def explain_sdk_errors(service: str, purpose: str) -> Iterator[None]:
    """Raises as a sentence what goes wrong inside, whichever call it was; a ClientError of another kind goes on.

    Args:
        service: Its name as the SDK's list of services has it, such as `Secrets Manager`.
        purpose: What the SDK was to do, such as `call SQS`.

    Raises:
        ConfigurationError: the SDK is not configured, nothing responds, or AWS does not accept the credentials.
    """
    # Source: AWS SDKs and Tools Reference Guide, Service-specific endpoints.
    variable = f"AWS_ENDPOINT_URL_{service.upper().replace(' ', '_')}"
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        if FAULTS.get(code) is not Fault.CREDENTIALS:
            raise
        raise ConfigurationError(
            f"AWS does not accept the credentials ({code}); check AWS_PROFILE, the role or AWS_ACCESS_KEY_ID"
        ) from None
    except BotoCoreError as error:
        raise ConfigurationError(_sdk_problem(error, service, variable, purpose)) from None
    except RuntimeError:  # what the SDK raises for credentials that are expired when it gets them
        raise ConfigurationError(
            "The AWS credentials were expired when the SDK got them; check this host's clock and what gives them"
        ) from None
    except ValueError:  # what the SDK raises for an endpoint that is no URL
        raise ConfigurationError(
            f"{variable} or AWS_ENDPOINT_URL is not the URL of an endpoint, so the SDK cannot {purpose}; for example "
            f"{variable}=http://127.0.0.1:4566"
        ) from None


def _sdk_problem(error: BotoCoreError, service: str, variable: str, purpose: str) -> str:
    """What the SDK found wrong before it had a response; `variable` names the service's endpoint."""
    url = urlsplit(str(error.kwargs.get("endpoint_url")))
    endpoint = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"  # a path names what is called, a user may be secret
    if isinstance(error, SSLError):
        sentences = (sentence for words, sentence in _TLS.items() if re.search(words, str(error)))
        return next(sentences, _OTHER_TLS).format(endpoint=endpoint, variable=variable)
    if isinstance(error, ProxyConnectionError):
        return (
            f"The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer, so the SDK cannot {purpose}; correct its "
            "host, port, user and password, or name the endpoint's host in NO_PROXY"
        )
    if type(error) is HTTPClientError:  # the HTTP client took no address, or no header
        return (
            f"The AWS SDK cannot {purpose} through HTTPS_PROXY or HTTP_PROXY, or with these credentials; write a proxy "
            "as http://user:password@host:port, where special characters are percent-encoded, and the credentials "
            "without blanks, quotes and line ends"
        )
    if isinstance(error, (NoConnectionError, HTTPClientError, IncompleteReadError)):
        at = f" at {endpoint}" if url.netloc else ""  # none where a response broke off
        return (
            f"{service} does not answer{at} ({type(error).__name__}), so the SDK cannot {purpose}; check the network, "
            "AWS_REGION and the AWS_ENDPOINT_URL variables"
        )
    if isinstance(error, NoRegionError):
        return "AWS_REGION is not set; for example AWS_REGION=eu-west-1"
    if isinstance(error, InvalidRegionError):
        return "AWS_REGION is not the name of a region; for example AWS_REGION=eu-west-1"
    if isinstance(error, ProfileNotFound):
        return "AWS_PROFILE names a profile that the AWS configuration files do not have"
    if isinstance(error, NoCredentialsError):
        return (
            "No AWS credentials were found; set AWS_PROFILE, give the host a role, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return f"The AWS SDK cannot {purpose} ({type(error).__name__}); check AWS_PROFILE and the AWS configuration files"
