"""One HTTP/1.1 connection, whose requests are answered one after the other, each after the latency that is asked for.

As little of HTTP as clients of SQS speak: a request says how long it is, and connections are kept open. Source: RFC
9112.
"""

import asyncio
from typing import cast

import msgspec

from login_pipeline_tests.sqs_server.service import GiveUp, RefusedError, Service

_RESPONSE = (
    b"HTTP/1.1 %b\r\nx-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\nContent-Length: %d\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\n\r\n%b"
)
_OK, _BAD_REQUEST = b"200 OK", b"400 Bad Request"


class HttpConnection(asyncio.Protocol):
    """What one client sends and is sent."""

    def __init__(self, service: Service, latency: float) -> None:
        self._service = service
        self._latency = latency
        self._received = b""
        self._give_up: GiveUp | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, first."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, last: a message is not for a client that has gone."""
        if self._give_up:
            self._give_up()

    def data_received(self, data: bytes) -> None:
        """Answers the request once it is here as a whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        head = self._received[: end + 2]
        lowered = head.lower()
        size = end + 4 + int(_header(head, lowered, b"\r\ncontent-length:") or 0)
        if end < 0 or len(self._received) < size:
            return
        content = self._received[end + 4 : size]
        self._received = b""
        if head.startswith(b"GET /counts "):
            self._write(_OK, msgspec.json.encode(self._service.counts()))
            return
        operation = _header(head, lowered, b"\r\nx-amz-target:").decode().removeprefix("AmazonSQS.")
        try:
            self._give_up = self._service.call(operation, content, self._reply)
        except RefusedError as error:
            self._write(_BAD_REQUEST, msgspec.json.encode({"__type": f"com.amazonaws.sqs#{error}", "message": ""}))

    def _reply(self, content: bytes) -> None:
        self._give_up = None
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._write, _OK, content)
        else:
            self._write(_OK, content)

    def _write(self, status: bytes, content: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_RESPONSE % (status, len(content), content))


def _header(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """The value of the header that `name` begins, in the spelling of `head`; empty where there is none."""
    start = lowered.find(name)
    if start < 0:
        return b""
    start += len(name)
    return head[start : head.find(b"\r\n", start)].strip()
