"""How boto3 calls SQS: kept from a call that it made, as the pattern of those that it does not make itself."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_sqs import SQSClient

OF_ONE_CALL = {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "x-amz-date",
    "x-amz-security-token",
}
"""Headers that are made for each call anew, or by libcurl; the names of HTTP headers have no case."""

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class Pattern(NamedTuple):
    """A call of one operation: where it goes, with which headers, and what it is signed for."""

    url: str
    headers: list[str]
    region: str
    service: str


class Patterns:
    """The newest call that a client made of each operation, by the operation's name."""

    def __init__(self, client: "SQSClient") -> None:
        self._patterns: dict[str, Pattern] = {}
        client.meta.events.register("before-send.sqs", self._keep)

    def get(self, operation: str) -> Pattern | None:
        """The pattern; None before the client's first signed call of it."""
        return self._patterns.get(operation)

    def _keep(self, request: "AWSPreparedRequest", event_name: str, **_: Any) -> None:
        """An event handler of botocore; it returns nothing, so that botocore sends the request."""
        headers = {name: _text(value) for name, value in request.headers.items()}
        scope = _SCOPE.search(headers.get("Authorization", ""))
        if scope is not None:
            kept = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in OF_ONE_CALL]
            self._patterns[event_name.rpartition(".")[2]] = Pattern(request.url, kept, **scope.groupdict())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
