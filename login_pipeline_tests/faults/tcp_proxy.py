"""A TCP proxy in front of PostgreSQL that breaks connections at a chosen moment."""

import select
import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from login_pipeline.local.ports import HOST

# As libpq sends it: a simple query. Source: PostgreSQL documentation, "Message Formats", Query.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
ROLLBACK = b"ROLLBACK\x00"
# What only a connection that loads a batch sends, or tries to, and rolls back.
LOAD = b"INSERT INTO user_logins_inbox"
# What only a connection that records dead letters sends.
RECORD = b"INSERT INTO user_logins_dead_letters"

_CHUNK = 65_536


class Fault(Enum):
    """What happens to a connection that loads a batch, or records dead letters, when its client sends COMMIT."""

    # The server commits and answers; the answer never arrives.
    ANSWER_LOST = auto()
    # The COMMIT never arrives; the server rolls back.
    COMMIT_LOST = auto()
    # The COMMIT never arrives, and nothing more of either end does, not even that it closes the connection.
    SILENCE_BEFORE = auto()
    # The server commits; nothing more of either end arrives.
    SILENCE_AFTER = auto()
    # Nothing, so that a later COMMIT is hit.
    NONE = auto()


class TcpProxy:
    """Passes connections on to the server in `upstream`, which can be changed, until it is stopped."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream = upstream_url
        # Whether new connections are passed on; they are closed at once otherwise.
        self.accepting = True
        # Whether anything is passed on; without it connections are open and silent, as behind a dead router.
        self.answering = True
        # How many COMMITs a fault has hit.
        self.broken = 0
        self._faults: dict[bytes, list[Fault]] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The libpq URL of the same database by way of this proxy. Encryption would hide what is sent."""
        parts = urlsplit(self.upstream)
        credentials = parts.netloc.rpartition("@")[0]
        query = "&".join(filter(None, [parts.query, "sslmode=disable&gssencmode=disable"]))
        return urlunsplit(parts._replace(netloc=f"{credentials}@{HOST}:{self.port}", query=query))

    def at_commit(self, fault: Fault, *, times: int = 1, of: bytes = LOAD) -> None:
        """Breaks the next `times` loads, or transactions of another statement, at their COMMIT."""
        with self._lock:
            self._faults.setdefault(of, []).extend([fault] * times)

    def heal(self) -> None:
        """Takes all faults back; connections that are broken stay so."""
        with self._lock:
            self._faults.clear()
        self.accepting = self.answering = True

    def cut(self) -> None:
        """Ends every open connection."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stops listening and ends every connection."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # either end may go at any time
            if not self.accepting:
                return
            with self._connect() as server:
                ends = {client, server}
                with self._lock:
                    self._open |= ends
                try:
                    self._pass_on(client, server)
                finally:
                    with self._lock:
                        self._open -= ends

    def _connect(self) -> socket.socket:
        address = urlsplit(self.upstream)
        return socket.create_connection((address.hostname or HOST, address.port or 5432))

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        statement = b""
        while True:
            ready, _, _ = select.select([client, server], [], [])
            for source in ready:
                if not (data := source.recv(_CHUNK)):
                    return None
                if not self.answering:
                    continue
                if source is client:
                    statement = b"" if ROLLBACK in data else statement
                    statement = next((each for each in (LOAD, RECORD) if each in data), statement)
                    if COMMIT in data and (fault := self._next_fault(statement)):
                        return self._break(fault, client, server, data)
                    server.sendall(data)
                else:
                    client.sendall(data)

    def _next_fault(self, statement: bytes) -> Fault | None:
        with self._lock:
            faults = self._faults.get(statement)
            fault = faults.pop(0) if faults else Fault.NONE
            self.broken += fault is not Fault.NONE
        return None if fault is Fault.NONE else fault

    def _break(self, fault: Fault, client: socket.socket, server: socket.socket, commit: bytes) -> None:
        if fault in (Fault.ANSWER_LOST, Fault.SILENCE_AFTER):
            server.sendall(commit)
            server.recv(_CHUNK)  # the server has committed when it answers
        if fault in (Fault.SILENCE_BEFORE, Fault.SILENCE_AFTER):
            for end in (server, client):  # neither hears that the other has gone
                while end.recv(_CHUNK):
                    pass
