"""A proxy that plays the part of RDS with IAM authentication: no server at hand takes AWS's tokens."""

import socket
import struct
from contextlib import suppress
from urllib.parse import parse_qsl

import trustme

from login_pipeline.local.ports import HOST
from login_pipeline_tests.faults.tls_proxy import TlsProxy

# Source: PostgreSQL documentation, "Message Formats": AuthenticationCleartextPassword and ErrorResponse.
_ASKS_FOR_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
_REFUSED = b'SFATAL\0C28000\0MPAM authentication failed for user "somebody"\0\0'


class RdsProxy(TlsProxy):
    """Asks for the password as it is, and takes a token that is for this address and for the user who logs in.

    The server behind it lets the user in without a password.
    """

    def __init__(self, upstream_url: str, certificate: trustme.LeafCert) -> None:
        # The fields of each token that was sent.
        self.tokens: list[dict[str, str]] = []
        # Whether rds-db:connect is allowed to the one who signed.
        self.allows = True
        super().__init__(upstream_url, certificate)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        startup = _read(client)
        words = startup[8:].split(b"\0")
        user = dict(zip(words[::2], words[1::2], strict=False))[b"user"].decode()
        client.sendall(_ASKS_FOR_PASSWORD)
        assert client.recv(1) == b"p"
        address, _, query = _read(client)[4:-1].decode().partition("/?")
        token = dict(parse_qsl(query))
        self.tokens.append(token)
        expected = {"Action": "connect", "DBUser": user, "X-Amz-Expires": "900"}
        if not self.allows or address != f"{HOST}:{self.port}" or not expected.items() <= token.items():
            client.sendall(b"E" + struct.pack("!i", 4 + len(_REFUSED)) + _REFUSED)
            return
        server.sendall(startup)
        with suppress(OSError):
            super()._pass_on(client, server)


def _read(client: socket.socket) -> bytes:
    """A message that begins with its own length."""
    message = b""
    while len(message) < 4 or len(message) < struct.unpack("!i", message[:4])[0]:
        wanted = struct.unpack("!i", message[:4])[0] if len(message) >= 4 else 4
        if not (data := client.recv(wanted - len(message))):
            raise ConnectionError
        message += data
    return message
