"""A run's connection, and work on it that neither a signal nor a silent server can hold up.

libpq's calls return when the server responds and not before; Python runs signal handlers only then. So the work
is done in a thread, and the one that asked waits, and can be interrupted.
"""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from select import select
from typing import TypeVar

import psycopg2
from psycopg2 import extensions

from login_pipeline.errors import DatabaseError, LoginPipelineError
from login_pipeline.postgres import statements
from login_pipeline.signals import call_at_signals, deferred_interrupts

# How much longer than its time limit a statement may take until the connection is taken to be dead.
RESPONSE_SECONDS = 10.0
# How long a server may take to cancel a statement.
CANCEL_SECONDS = 5.0

Connect = Callable[[], extensions.connection]
Result = TypeVar("Result")


class KeptConnection:
    """Lends a connection and keeps it for the next caller; a concurrent caller gets one of its own."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._idle: deque[extensions.connection] = deque()

    @contextmanager
    def lend(self) -> Iterator[extensions.connection]:
        """A connection on which nothing is under way. After an error it is not used again.

        Raises:
            LoginPipelineError: none can be made.
        """
        connection = self._one_that_stands() or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Closes what nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _one_that_stands(self) -> extensions.connection | None:
        while self._idle:
            connection = self._idle.pop()
            if _stands(connection):
                return connection
            connection.close()
        return None


def call(
    connection: extensions.connection,
    work: Callable[[extensions.cursor], Result],
    *,
    connect: Connect,
    seconds: float,
    setting: str,
    commit: bool = True,
) -> Result:
    """Does `work` in a transaction: committed at the end, rolled back on any error.

    Args:
        connection: On which nothing is under way but a transaction that was left open; not to be used again after an
            error.
        work: What to do with a cursor; it has PostgreSQL limit its statements' time itself.
        connect: Makes another connection, on which the work can be cancelled.
        seconds: What `work` has; a server that is silent for longer is given up.
        setting: The variable that names the database.
        commit: Without it the transaction stays open for the next call.

    Raises:
        DatabaseError: the server is silent; whether the transaction was committed is not known.
        psycopg2.Error: what `work` raised.
    """
    done: Future[Result] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="postgres") as pool:
        try:
            with deferred_interrupts():  # until the pool knows the thread, nobody would wait for it
                done = pool.submit(_in_transaction, connection, work, commit)
            return done.result(timeout=max(0.0, seconds) + RESPONSE_SECONDS)
        except TimeoutError:
            _cut(connection)
            raise DatabaseError(
                f"The database in {setting} has been silent for {seconds + RESPONSE_SECONDS:.0f} s; a load may "
                "be committed or not, and the inbox knows which when the messages are delivered again"
            ) from None
        except BaseException:
            if done is not None and not done.done():  # a signal came; another one must not keep us from this
                with deferred_interrupts():
                    _cancel(connect, connection, done)
            raise


def cancelled_by_signals(connect: Connect, connection: extensions.connection) -> AbstractContextManager[None]:
    """Has the server cancel the connection's statement when a signal to end comes; only the main thread gets one."""
    return call_at_signals(lambda: _ask_to_cancel(connect, connection.info.backend_pid))


def _in_transaction(
    connection: extensions.connection, work: Callable[[extensions.cursor], Result], commit: bool
) -> Result:
    with connection if commit else nullcontext(), connection.cursor() as cursor:
        cursor.execute(statements.load.durable)
        return work(cursor)


def _cancel(connect: Connect, connection: extensions.connection, done: "Future[Result]") -> None:
    """Asks the server to stop, so that it no longer holds a lock; cuts the connection if it does not."""
    threading.Thread(target=_ask_to_cancel, args=[connect, connection.info.backend_pid], daemon=True).start()
    if not wait([done], timeout=CANCEL_SECONDS).done:
        _cut(connection)


def _ask_to_cancel(connect: Connect, backend: int) -> None:
    """By a statement: while libpq's own request waits for a server that is gone, psycopg2 stops every thread."""
    with suppress(psycopg2.Error, LoginPipelineError), closing(connect()) as other, other.cursor() as cursor:
        cursor.execute(statements.load.cancel, {"backend": backend})


def _cut(connection: extensions.connection) -> None:
    with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as stream:
        stream.shutdown(socket.SHUT_RDWR)


def _stands(connection: extensions.connection) -> bool:
    """All that a server has to say to a connection on which nothing is under way is that it ends it."""
    return not select([connection], [], [], 0)[0]
