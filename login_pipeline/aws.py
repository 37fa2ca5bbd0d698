"""Clients of any AWS service, and what goes wrong with them: credentials, region, configuration, connection."""

from enum import Enum
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
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


# The codes of SQS, Secrets Manager, SSM, S3 and KMS. Source: the error lists of their API references.
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
            *("DecryptionFailure", "DecryptionFailureException"),
        ),
        Fault.NOT_ALLOWED,
    ),
    **dict.fromkeys(
        (
            *("QueueDoesNotExist", "NonExistentQueue", "QueueDeletedRecently", "InvalidAddress"),
            *("ResourceNotFoundException", "ParameterNotFound", "NoSuchKey"),
        ),
        Fault.NOT_FOUND,
    ),
}


def aws_client(service: Literal["s3", "secretsmanager", "ssm"], region: str | None) -> Any:
    """A client of the service; without a region the SDK finds one.

    Raises:
        BotoCoreError: the SDK is not configured.
    """
    return boto3.Session(region_name=region).client(service, config=Config(retries={"mode": "standard"}))


def error_code(error: ClientError) -> str:
    """The error's code without SQS's prefix. The message is left out: it can quote what was sent.

    Some of SQS's codes are documented as `AWS.SimpleQueueService.NonExistentQueue`, and some servers leave that out.
    """
    return str(error.response.get("Error", {}).get("Code", "Unknown")).removeprefix("AWS.SimpleQueueService.")


def not_accepted(code: str) -> ConfigurationError | None:
    """The sentence where AWS does not accept the credentials; None for another code."""
    if FAULTS.get(code) is not Fault.CREDENTIALS:
        return None
    return ConfigurationError(
        f"AWS does not accept the credentials ({code}); check AWS_PROFILE, the role or AWS_ACCESS_KEY_ID"
    )


def sdk_problem(error: BotoCoreError, purpose: str) -> ConfigurationError:
    """What the SDK found wrong before it had a response; `purpose` is what it was to do, such as `call SQS`."""
    if isinstance(error, SSLError):
        return ConfigurationError(
            f"The certificate of {error.kwargs.get('endpoint_url')} is not trusted, so the SDK cannot {purpose}; name "
            "the file of the authority that signed it in AWS_CA_BUNDLE, or correct the AWS_ENDPOINT_URL variables"
        )
    if isinstance(error, (NoConnectionError, HTTPClientError)):
        return no_answer(error, "AWS", purpose)
    if isinstance(error, NoRegionError):
        return ConfigurationError("AWS_REGION is not set; for example AWS_REGION=eu-west-1")
    if isinstance(error, InvalidRegionError):
        return ConfigurationError("AWS_REGION is not the name of a region; for example AWS_REGION=eu-west-1")
    if isinstance(error, ProfileNotFound):
        return ConfigurationError("AWS_PROFILE names a profile that the AWS configuration files do not have")
    if isinstance(error, NoCredentialsError):
        return ConfigurationError(
            "No AWS credentials were found; set AWS_PROFILE, give the host a role, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return ConfigurationError(
        f"The AWS SDK cannot {purpose} ({type(error).__name__}); check AWS_PROFILE and the AWS configuration files"
    )


def no_answer(error: BotoCoreError, who: str, purpose: str) -> ConfigurationError:
    """The sentence where nothing came back; `who` should have responded, `purpose` is as in `sdk_problem`."""
    if isinstance(error, ProxyConnectionError):
        return ConfigurationError(
            f"The proxy that HTTPS_PROXY or HTTP_PROXY names does not answer, so the SDK cannot {purpose}; correct its "
            "host, port, user and password, or name the endpoint's host in NO_PROXY"
        )
    endpoint = error.kwargs.get("endpoint_url")
    if endpoint is None:  # the HTTP client took no address, or no header
        return ConfigurationError(
            f"The AWS SDK cannot {purpose} through HTTPS_PROXY or HTTP_PROXY, or with these credentials; write a proxy "
            "as http://user:password@host:port, where special characters are percent-encoded, and the credentials "
            "without blanks, quotes and line ends"
        )
    return ConfigurationError(
        f"{who} does not answer at {endpoint} ({type(error).__name__}), so the SDK cannot {purpose}; check the "
        "network, AWS_REGION and the AWS_ENDPOINT_URL variables"
    )
