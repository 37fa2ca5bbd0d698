"""An HTTP proxy in front of an SQS-speaking server that breaks chosen actions. It speaks AWS JSON 1.0."""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from login_pipeline.local.ports import HOST

JSON_1_0 = "application/x-amz-json-1.0"
_KEPT = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date", "X-Amzn-Query-Mode")


class Answer(NamedTuple):
    """An HTTP answer; its content is one JSON object, or bytes of something else."""

    status: int
    content: Any
    # Header x-amzn-query-error: the error's code of the older query protocol, from which the SDK takes its name.
    query_error: str | None = None


class Heard(NamedTuple):
    """A call as it arrived; `client` is the port of the connection's other end."""

    client: int
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def action(self) -> str:
        """As in the header X-Amz-Target, without "AmazonSQS."."""
        return self.headers["X-Amz-Target"].rpartition(".")[2]


class ConnectionCutError(Exception):
    """The connection ends without an answer."""


# Passes a request on.
Forward = Callable[[dict[str, Any]], Answer]
# Answers a request: itself, by passing it on, changed or not, or by raising ConnectionCutError.
Fault = Callable[[dict[str, Any], Forward], Answer]


@dataclass(eq=False)
class _Rule:
    action: str
    fault: Fault
    times: float
    hits: int = 0

    def applies(self, action: str) -> bool:
        return self.action in (action, "*") and self.hits < self.times


@dataclass
class SqsProxy:
    """Passes every call on to the server at `upstream`, except where a rule for its action says otherwise."""

    upstream: str
    # With which it speaks to its clients; without it in clear.
    tls: ssl.SSLContext | None = None
    # How often each action was called, the calls that broke included.
    calls: Counter[str] = field(default_factory=Counter)
    # Those calls, in the order in which they came.
    heard: list[Heard] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._server = _Server((HOST, 0), _handler(self))
        self.endpoint = f"{'https' if self.tls else 'http'}://{HOST}:{self._server.server_address[1]}"
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on(self, action: str, fault: Fault, *, times: float = float("inf")) -> _Rule:
        """Lets `fault` answer the next `times` calls of `action` ("*" for any).

        Its forward() reaches the rules that were made before it, and at last the server.
        """
        rule = _Rule(action, fault, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    @contextmanager
    def breaking(self, action: str, fault: Fault, *, times: float = float("inf")) -> Iterator[None]:
        """As `on`, until the block is left; at least one call must have come."""
        rule = self.on(action, fault, times=times)
        try:
            yield
        finally:
            with self._lock:
                self._rules.remove(rule)
        assert rule.hits, f"{action} was never called"

    def close(self) -> None:
        """Stops listening. Calls under way are left to end by themselves."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, headers: dict[str, str], content: dict[str, Any]) -> Answer:
        """Answers one call by the rules that apply to it."""
        action = headers["X-Amz-Target"].rpartition(".")[2]
        with self._lock:
            self.calls[action] += 1
            rules = [rule for rule in self._rules if rule.applies(action)]
            for rule in rules:
                rule.hits += 1
        return _chain(rules, lambda changed: self._pass_on(headers, changed))(content)

    def _pass_on(self, headers: dict[str, str], content: dict[str, Any]) -> Answer:
        address = urlsplit(self.upstream)
        connection = HTTPConnection(address.hostname or HOST, address.port, timeout=60)
        try:
            connection.request("POST", "/", json.dumps(content), headers)
            answer = connection.getresponse()
            query_error = answer.getheader("x-amzn-query-error")
            return Answer(answer.status, json.loads(answer.read() or b"{}"), query_error)
        except (OSError, HTTPException):
            raise ConnectionCutError from None
        finally:
            connection.close()


def _chain(rules: list[_Rule], last: Forward) -> Forward:
    """The newest rule outermost."""
    forward = last
    for rule in rules:
        forward = _link(rule.fault, forward)
    return forward


def _link(fault: Fault, forward: Forward) -> Forward:
    return lambda content: fault(content, forward)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def handle_error(self, *_: object) -> None:
        """Nothing: clients are killed."""


def _handler(proxy: SqsProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxy.heard.append(Heard(self.client_address[1], self.path, dict(self.headers.items()), body))
            content = json.loads(body or b"{}")
            headers = {name: self.headers[name] for name in _KEPT if name in self.headers}
            with suppress(OSError):  # the client may have gone
                try:
                    self._send(proxy.answer(headers, content))
                except ConnectionCutError:
                    self.close_connection = True

        def _send(self, answer: Answer) -> None:
            is_json = not isinstance(answer.content, bytes)
            data = json.dumps(answer.content).encode() if is_json else answer.content
            self.send_response(answer.status)
            self.send_header("Content-Type", JSON_1_0)
            self.send_header("Content-Length", str(len(data)))
            if answer.query_error:
                self.send_header("x-amzn-query-error", answer.query_error)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    return Handler
