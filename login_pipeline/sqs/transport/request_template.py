"""How boto3 calls SQS: recorded from a call that it made, as the template of those that libcurl makes."""

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_sqs import SQSClient

# Headers, in lower case, that say something about one call only.
PER_CALL_HEADERS = {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-target",
}

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class RequestTemplate(NamedTuple):
    """A call: where it goes and by way of which proxy, the headers that each has, and what it is signed for.

    `proxy` is empty where there is none.
    """

    url: str
    proxy: str
    headers: list[str]
    region: str
    service: str


class TemplateRecorder:
    """The template of the last call that a client made; None before the first one that was signed."""

    def __init__(self, client: "SQSClient") -> None:
        self.template: RequestTemplate | None = None
        client.meta.events.register("before-send.sqs", self._record)

    def _record(self, request: "AWSPreparedRequest", **_: Any) -> None:
        """Handles an event of botocore's; it returns nothing, so that botocore sends the request."""
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        if scope := _SCOPE.search(headers.get("Authorization", "")):
            kept = [f"{name}: {value}" for name, value in headers.items() if name.lower() not in PER_CALL_HEADERS]
            proxy = get_environ_proxies(request.url).get(urlsplit(request.url).scheme, "")
            self.template = RequestTemplate(request.url, proxy, kept, **scope.groupdict())
