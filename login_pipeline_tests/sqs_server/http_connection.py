"""One HTTP/1.1 connection: requests are answered one after the other, each after the latency that is asked for.

As little of HTTP as clients of SQS speak: a request says how long it is, connections are kept open, requests may come
before the one before them is answered, and a client that asks whether to continue is told so. Source: RFC 9112.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import NamedTuple, cast

# Bytes. A head that is longer ends the connection.
MAX_HEAD = 65_536
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    411: b"Length Required",
    500: b"Internal Server Error",
}
_numbers = count(1)


class Request(NamedTuple):
    """A request, as far as anybody here looks at it. `head` is in lower case."""

    line: bytes
    head: bytes
    # Header X-Amz-Target.
    target: str
    content: bytes


class Answer(NamedTuple):
    """An answer; `header` is one more header line, if there is one, and `at_once` says that it knows no latency."""

    status: int
    content: bytes
    header: bytes = b""
    at_once: bool = False


GiveUp = Callable[[], None]
# Answers a request, at once or later; what it returns is called when the client goes before it is answered.
Respond = Callable[[Request, Callable[[Answer], None]], GiveUp | None]


class HttpConnection(asyncio.Protocol):
    """What one client sends and is sent."""

    def __init__(self, respond: Respond, latency: float) -> None:
        self._respond = respond
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._received = b""
        # Bytes of the request that is not all here yet, where that is known.
        self._needed = 0
        self._busy = False
        self._working = False
        self._closes = False
        self._give_up: GiveUp | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, first."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, last."""
        if self._give_up:
            self._give_up()

    def data_received(self, data: bytes) -> None:
        """Called with whatever comes."""
        self._received = self._received + data if self._received else data
        if len(self._received) >= self._needed:
            self._work()

    def _work(self) -> None:
        """Answers what is here. An answer that is given at once comes back to this loop, and not deeper into it."""
        if self._working:
            return
        self._working = True
        while not self._busy and not self._transport.is_closing() and (request := self._next_request()):
            self._busy = True
            self._give_up = self._respond(request, self._answer)
        self._working = False

    def _next_request(self) -> Request | None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > MAX_HEAD:
                self._transport.close()
            return None
        head = self._received[: end + 2]
        lowered = head.lower()
        length = _header(lowered, lowered, b"\r\ncontent-length:")
        if (length and not length.isdigit()) or b"\r\ntransfer-encoding:" in lowered:
            self._write(Answer(411, b""))
            self._transport.close()
            return None
        size = end + 4 + int(length or 0)
        if len(self._received) < size:
            if not self._needed and b"\r\nexpect: 100-continue" in lowered:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._needed = size
            return None
        content = self._received[end + 4 : size]
        self._received = self._received[size:]
        self._needed = 0
        self._closes = b"\r\nconnection: close" in lowered
        return Request(
            head[: head.find(b"\r\n")], lowered, _header(head, lowered, b"\r\nx-amz-target:").decode("latin-1"), content
        )

    def _answer(self, answer: Answer) -> None:
        self._give_up = None
        if self._latency and not answer.at_once:
            self._loop.call_later(self._latency, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: Answer) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nx-amzn-RequestId: 00000000-0000-4000-8000-%012x\r\n%bContent-Length: %d\r\n"
            b"Content-Type: application/x-amz-json-1.0\r\n\r\n%b"
            % (
                answer.status,
                _REASONS[answer.status],
                next(_numbers),
                answer.header,
                len(answer.content),
                answer.content,
            )
        )
        self._busy = False
        if self._closes:
            self._transport.close()
        elif self._received:
            self._work()


def _header(head: bytes, lowered: bytes, name: bytes) -> bytes:
    """The value of the header that `name` begins, in the spelling of `head`; empty where there is none."""
    start = lowered.find(name)
    if start < 0:
        return b""
    start += len(name)
    return head[start : head.find(b"\r\n", start)].strip()
