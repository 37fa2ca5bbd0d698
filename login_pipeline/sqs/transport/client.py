"""Calls to SQS: the operations, and boto3 as the settings configure it, which can make any of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import boto3
import botocore.session
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import get_cert_path

from login_pipeline.aws import FAULTS, Fault, error_code
from login_pipeline.settings import Settings
from login_pipeline.sqs.message import ReceiveResponse

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_sqs import SQSClient

CONNECT_SECONDS = 5
# For SQS to respond. A long poll (LONG_POLL_SECONDS in queue.py) takes a small part of it: an empty one is no time-out.
READ_SECONDS = 15

Request = Mapping[str, Any]
Response = TypeVar("Response", bound=msgspec.Struct)
# What the SDK raises: a RuntimeError where it gets new credentials that are expired already.
CallError = ClientError | BotoCoreError | RuntimeError
CALL_ERRORS = (ClientError, BotoCoreError, RuntimeError)
# Codes with which a whole call is refused because of one of its entries.
ENTRY_FAULTS = {code for code, fault in FAULTS.items() if fault is Fault.ENTRY}


class UnreadableResponseError(BotoCoreError):
    """What responds is not SQS."""

    fmt = "The response is not one of SQS"


def is_about_the_request(error: CallError) -> bool:
    """Whether another request may succeed where this one failed."""
    return isinstance(error, ClientError) and error_code(error) in ENTRY_FAULTS


class EntryResult(msgspec.Struct, gc=False):
    """What became of an entry of a batch: a `code` where it failed; `senders_fault`: it would fail again."""

    id: str = msgspec.field(name="Id", default="")
    code: str = msgspec.field(name="Code", default="Unknown")
    senders_fault: bool = msgspec.field(name="SenderFault", default=False)


class BatchResponse(msgspec.Struct, gc=False):
    """The response of SendMessageBatch, DeleteMessageBatch and ChangeMessageVisibilityBatch."""

    successful: list[EntryResult] = msgspec.field(name="Successful", default_factory=list)
    failed: list[EntryResult] = msgspec.field(name="Failed", default_factory=list)


class AttributesResponse(msgspec.Struct, gc=False):
    """GetQueueAttributes' response."""

    attributes: dict[str, str] = msgspec.field(name="Attributes", default_factory=dict)


@dataclass(frozen=True)
class Operation(Generic[Response]):
    """One of SQS's operations: its name, boto3's method, and the type of its response."""

    name: str
    method: str
    response: type[Response]


RECEIVE = Operation("ReceiveMessage", "receive_message", ReceiveResponse)
SEND = Operation("SendMessageBatch", "send_message_batch", BatchResponse)
DELETE = Operation("DeleteMessageBatch", "delete_message_batch", BatchResponse)
CHANGE_VISIBILITY = Operation("ChangeMessageVisibilityBatch", "change_message_visibility_batch", BatchResponse)
GET_ATTRIBUTES = Operation("GetQueueAttributes", "get_queue_attributes", AttributesResponse)


class ClientOptions(NamedTuple):
    """How the SDK's client is made, times in seconds. What is None is as the settings and the SDK have it."""

    region_name: str | None = None
    max_attempts: int = 5
    profile_name: str | None = None
    use_ssl: bool = True
    endpoint_url: str | None = None
    verify: bool | None = True
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    read_timeout: int | None = None


class Sdk:
    """The AWS SDK as the settings configure it. Its properties raise what the SDK does where that is wrong."""

    def __init__(self, settings: Settings, options: ClientOptions) -> None:
        self._settings = settings
        self._options = options
        self.read_timeout = options.read_timeout or READ_SECONDS

    @cached_property
    def client(self) -> "SQSClient":
        """SQS's client."""
        return self._session.client(
            "sqs",
            endpoint_url=self._options.endpoint_url,
            use_ssl=self._options.use_ssl,
            verify=None if self._options.verify else False,  # None lets the SDK's own AWS_CA_BUNDLE decide
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=self.read_timeout,
                max_pool_connections=self._settings.sqs_calls,
                retries={"mode": "standard", "total_max_attempts": self._options.max_attempts},
                parameter_validation=False,  # ours are right by construction; it costs a tenth of a call
                user_agent_extra=f"login-pipeline/{version('login-pipeline')}",
            ),
        )

    def call(self, operation: Operation[Response], request: Request) -> Response | CallError:
        """Raises nothing, because the other calls' responses must not be lost."""
        try:
            response = getattr(self.client, operation.method)(**request)
            return msgspec.convert(response, operation.response, strict=False)
        except CALL_ERRORS as error:
            return error
        except Exception:  # of the SDK's, or msgspec's, at a body that is not SQS's; what it says may quote that
            return UnreadableResponseError()

    @property
    def credentials(self) -> "Credentials | None":
        """What calls are signed with."""
        return self._session.get_credentials()

    @property
    def ca_bundle(self) -> str | None:
        """The file of the authorities to trust; None trusts any server."""
        named = self._core.get_config_variable("ca_bundle") or os.getenv("REQUESTS_CA_BUNDLE")  # as botocore does
        return (named or get_cert_path(verify=True)) if self._options.verify else None

    @cached_property
    def _core(self) -> botocore.session.Session:
        return botocore.session.get_session()

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self._options.aws_access_key_id,
            aws_secret_access_key=self._options.aws_secret_access_key,
            aws_session_token=self._options.aws_session_token,
            region_name=self._options.region_name or self._settings.queue_region,
            profile_name=self._options.profile_name,
            botocore_session=self._core,
        )
