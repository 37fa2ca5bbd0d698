"""How boto3 calls SQS: kept from a call that it made, as the pattern of those that it does not make itself."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from botocore.utils import get_environ_proxies

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
    "x-amz-target",
}
"""Headers, in lower case, that say something about one call only."""
SERVICE = "AmazonSQS"
"""In header X-Amz-Target, before the operation. Source: botocore's model of SQS, `targetPrefix`."""

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class Pattern(NamedTuple):
    """A call: where it goes and by way of which proxy, the headers that each has, and what it is signed for.

    `proxy` is empty where there is none.
    """

    url: str
    proxy: str
    headers: list[str]
    region: str
    service: str

    def headers_of(self, operation: str) -> list[str]:
        """Those of a call of this operation."""
        return [*self.headers, f"X-Amz-Target: {SERVICE}.{operation}"]


class LastCall:
    """The pattern of the last call that a client made; None before the first one that was signed."""

    def __init__(self, client: "SQSClient") -> None:
        self.pattern: Pattern | None = None
        client.meta.events.register("before-send.sqs", self._keep)

    def _keep(self, request: "AWSPreparedRequest", **_: Any) -> None:
        """Handles an event of botocore's; it returns nothing, so that botocore sends the request."""
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        if scope := _SCOPE.search(headers.get("Authorization", "")):
            kept = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in OF_ONE_CALL]
            self.pattern = Pattern(request.url, _proxy(request.url), kept, **scope.groupdict())


def _proxy(url: str) -> str:
    """As botocore reads it from the environment, with its exceptions."""
    proxies: dict[str, str] = get_environ_proxies(url)
    return proxies.get(urlsplit(url).scheme, "")
