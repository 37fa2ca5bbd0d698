"""A webhook on loopback: a real HTTP server that keeps what it is sent, and answers as a test says."""

import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from login_pipeline.local.ports import HOST

# In the URL, as in that of Slack's: who knows it may write there.
SECRET = secrets.token_hex(16)


class Webhook:
    """One server; `status` is what it answers with, and `answers` is cleared while it is to be silent."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.texts: list[str] = []
        self.paths: list[str] = []
        self.status = 200
        self.location: str | None = None
        self.answers = threading.Event()
        self.answers.set()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{HOST}:{self._server.server_address[1]}/services/{SECRET}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening."""
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def answering(self, status: int, location: str | None = None) -> Iterator[None]:
        """It answers with this status until the block is left."""
        self.status, self.location = status, location
        yield
        self.status, self.location = 200, None


def _handler(webhook: Webhook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.paths.append(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            assert set(body) == {"text"}
            webhook.answers.wait()
            if webhook.status == 200:
                webhook.texts.append(body["text"])
            with suppress(OSError):  # the client may have gone
                self.send_response(webhook.status)
                if webhook.location:
                    self.send_header("Location", webhook.location)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        do_GET = do_POST  # noqa: N815 - what would follow a redirect

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    return Handler
