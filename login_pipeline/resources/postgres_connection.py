"""The connection that a run keeps: made when it is first needed, used again, and made anew where it broke."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from select import select

from psycopg2 import extensions

Connect = Callable[[], extensions.connection]


class KeptConnection:
    """Lends a connection and keeps it for the next who asks; who asks meanwhile gets one of its own."""

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


def _stands(connection: extensions.connection) -> bool:
    """All that a server has to say to a connection on which nothing is under way is that it ends it."""
    return not select([connection], [], [], 0)[0]
