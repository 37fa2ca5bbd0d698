"""A connection whose calls end at a signal or when the server is silent for too long, and one that is kept for a run.

libpq's calls return when the server responds and not before; Python runs signal handlers only then. So each call is
made in a thread, and the one that asked waits, and can be interrupted.
"""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from functools import partial
from select import select
from typing import Any, TypeVar

import psycopg2
from psycopg2 import extensions

from login_pipeline.errors import LoginPipelineError
from login_pipeline.postgres import statements
from login_pipeline.signals import deferred_interrupts

# How much longer than its time limit a statement may take until the connection is taken to be dead.
RESPONSE_SECONDS = 10.0
# How long a server may take to cancel a statement.
CANCEL_SECONDS = 5.0
# How long the server waits for a client that says nothing in the middle of a transaction.
IDLE_SECONDS = 30.0

Result = TypeVar("Result")


class SilentServerError(psycopg2.OperationalError):
    """The server did not respond within so many seconds; whether the transaction was committed is not known."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class InterruptibleConnection(extensions.connection):
    """Its statements, COMMIT and ROLLBACK end at a signal, and where they have a limit and the server is silent.

    The server is asked to cancel what is under way, so that it holds no lock; if it does not, the connection is cut.
    As libpq's, it cannot be used after a fork.
    """

    # Makes another connection, on which a statement can be cancelled.
    connect: "Callable[[], InterruptibleConnection]"
    # The time.monotonic() until which it may take; None: as long as it needs.
    until: float | None = None
    # The id of the server's session that has the newest transaction, and since when.
    session: tuple[Any, ...] = (None, None)

    def __init__(self, *parameters: Any, **options: Any) -> None:
        super().__init__(*parameters, **options)
        # Kept: with a new thread for each call a message takes 7 % more CPU.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="postgres")

    def close(self) -> None:
        """As psycopg2's."""
        super().close()
        self._thread.shutdown(wait=False)

    def address(self) -> str:
        """Host, port and database, without the user and the password."""
        parameters = self.get_dsn_parameters()
        return f"{parameters.get('host', 'local')}:{parameters.get('port')}/{parameters.get('dbname')}"

    def commit(self) -> None:
        """As psycopg2's, and raises as `wait_for` does."""
        self.wait_for(super().commit)

    def rollback(self) -> None:
        """As psycopg2's, and raises as `wait_for` does."""
        self.wait_for(super().rollback)

    def wait_for(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, which waits for the server.

        Raises:
            SilentServerError: it took RESPONSE_SECONDS longer than `until`.
            psycopg2.Error: what `work` raised.
        """
        if self.closed:
            return work()  # psycopg2 says so
        limit = None if self.until is None else max(0.0, self.until - time.monotonic()) + RESPONSE_SECONDS
        done: Future[Result] | None = None
        try:
            with deferred_interrupts():  # until the thread has it, nobody would wait for it
                done = self._thread.submit(work)
            return done.result(limit)
        except TimeoutError:
            self._cut()
            raise SilentServerError(limit or 0) from None
        except BaseException:
            if done is not None and not done.done():  # a signal came; another one must not keep us from this
                with deferred_interrupts():
                    self._cancel(done)
            raise
        finally:
            if done is not None and not done.cancel():
                wait([done])  # until then the connection is the thread's
            done = None  # it holds the error, whose traceback holds it

    def _cancel(self, done: "Future[Any]") -> None:
        threading.Thread(target=self._ask_to_cancel, daemon=True).start()
        if not wait([done], timeout=CANCEL_SECONDS).done:
            self._cut()

    def _ask_to_cancel(self) -> None:
        """By a statement: while libpq's own request waits for a server that is gone, psycopg2 stops every thread."""
        session, since = self.session
        with suppress(psycopg2.Error, LoginPipelineError), closing(self.connect()) as other, other.cursor() as cursor:
            cursor.execute(statements.transaction.cancel, {"session": session, "since": since})

    def _cut(self) -> None:
        with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(self.fileno())) as stream:
            stream.shutdown(socket.SHUT_RDWR)


class InterruptibleCursor(extensions.cursor):
    """A cursor of an InterruptibleConnection."""

    connection: InterruptibleConnection

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - the name that psycopg2 gives it
        """As psycopg2's, and raises as `InterruptibleConnection.wait_for` does."""
        self.connection.wait_for(partial(super().execute, query, vars))

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """As psycopg2's, and raises as `InterruptibleConnection.wait_for` does."""
        self.connection.wait_for(partial(super().copy_expert, sql, file, size))

    def close(self) -> None:
        """As psycopg2's: where the server has the cursor, too, it is asked to close it."""
        if self.name and not self.closed:
            self.connection.wait_for(super().close)
        else:
            super().close()

    def stream(self, query: Any, parameters: Any = None, *, rows: int) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, fetched from the server so many at a time; raises as `execute` does."""
        with self.connection.cursor(name="stream", cursor_factory=InterruptibleCursor) as stream:
            stream.execute(query, parameters)
            while fetched := self.connection.wait_for(partial(stream.fetchmany, rows)):
                yield from fetched

    def begin(self) -> None:
        """Makes the COMMIT of this transaction durable, and what it has under way from now on ends at a signal."""
        self.execute(statements.transaction.begin)
        self.connection.session = self.fetchone() or (None, None)

    def limit_time(self, seconds: float, *, idle_seconds: float | None = None) -> None:
        """Has PostgreSQL cancel each later statement of this transaction that takes longer.

        It ends the session where the client says nothing for `idle_seconds`, or without them for IDLE_SECONDS.
        """
        self.connection.until = time.monotonic() + seconds
        idle = IDLE_SECONDS if idle_seconds is None else idle_seconds
        milliseconds = {"milliseconds": max(1, int(seconds * 1000)), "idle_milliseconds": int(idle * 1000)}
        self.execute(statements.transaction.limit_time, milliseconds)  # 0 is no limit


class KeptConnection:
    """Lends a connection and keeps it for the next caller; a concurrent caller gets one of its own."""

    def __init__(self, connect: Callable[[], InterruptibleConnection]) -> None:
        self._connect = connect
        self._idle: deque[InterruptibleConnection] = deque()

    @contextmanager
    def lend(self) -> Iterator[InterruptibleConnection]:
        """A connection on which nothing is under way. After an error it is not used again.

        Raises:
            LoginPipelineError: none can be made.
        """
        connection = self._open_one() or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Closes what nobody uses."""
        while connection := self._pop():
            connection.close()

    def _open_one(self) -> InterruptibleConnection | None:
        while connection := self._pop():
            if _is_open(connection):
                return connection
            connection.close()
        return None

    def _pop(self) -> InterruptibleConnection | None:
        try:
            return self._idle.pop()
        except IndexError:  # another thread may have taken it
            return None


def _is_open(connection: InterruptibleConnection) -> bool:
    """All that a server has to say to a connection on which nothing is under way is that it ends it."""
    return not select([connection], [], [], 0)[0]
