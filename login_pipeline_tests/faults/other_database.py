"""A database that speaks PostgreSQL's protocol and is not PostgreSQL: a proxy that changes statements."""

import select
import socket

from login_pipeline_tests.faults.tcp_proxy import TcpProxy

_CHUNK = 65_536
_LENGTH = 4


class OtherDatabase(TcpProxy):
    """PostgreSQL, but that it refuses statements with these words, each with an SQLSTATE, and takes some for others."""

    def __init__(self, upstream_url: str) -> None:
        self.refused: dict[bytes, bytes] = {}
        self.taken_for: dict[bytes, bytes] = {}
        super().__init__(upstream_url)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        received, header = b"", _LENGTH  # the first message has a length only, each later one a type before it
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source in ready:
                if not (data := source.recv(_CHUNK)):
                    return
                if source is server:
                    client.sendall(data)
                    continue
                received += data
                while len(received) >= header and len(received) >= (end := _end(received, header)):
                    self._pass_message(received[:end], client, server)
                    received, header = received[end:], 1 + _LENGTH

    def _pass_message(self, message: bytes, client: socket.socket, server: socket.socket) -> None:
        if not message.startswith(b"Q"):
            server.sendall(message)
            return
        statement = message[1 + _LENGTH :]
        for words, code in self.refused.items():
            if words in statement:
                fields = b"SERROR\0C" + code + b"\0Mnot here\0\0"
                client.sendall(_message(b"E", fields) + _message(b"Z", b"E"))
                return
        for words, others in self.taken_for.items():
            statement = statement.replace(words, others)
        server.sendall(_message(b"Q", statement))


def _end(received: bytes, header: int) -> int:
    return header - _LENGTH + int.from_bytes(received[header - _LENGTH : header])


def _message(kind: bytes, content: bytes) -> bytes:
    """Source: PostgreSQL documentation, "Message Formats"."""
    return kind + (_LENGTH + len(content)).to_bytes(_LENGTH) + content
