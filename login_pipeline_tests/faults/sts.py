"""A server that plays the part of AWS STS: no emulator gives credentials that are about to expire."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

from login_pipeline.local.ports import HOST

# The SDK takes credentials for expired ten minutes before they are.
SOON = timedelta(minutes=5)

_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASSUMED{number}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


_REFUSAL = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"


def secret(number: int) -> str:
    """The secret of the credentials that were given as the `number`th."""
    return f"secret/{number}+with:all=that&base64 has"


def token(number: int) -> str:
    """Their session token."""
    return f"token/{number}+=="


@contextmanager
def sts_server(*, refuses: bool = False) -> Iterator[str]:
    """The endpoint of a server that gives others each time AssumeRole is called, which expire SOON; or refuses."""
    numbers = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            number = next(numbers)
            expiration = (datetime.now(UTC) + SOON).isoformat()
            parts = {"number": number, "secret": secret(number).replace("&", "&amp;"), "token": token(number)}
            answer = (_REFUSAL if refuses else _ANSWER.format(**parts, expiration=expiration)).encode()
            self.send_response(403 if refuses else 200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
