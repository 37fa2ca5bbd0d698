"""Remembers that SIGINT or SIGTERM came, also when the exception for it was lost.

Dagster raises an exception from its signal handler. Where the signal hits a callback of the garbage collector,
Python prints that exception and goes on. The wakeup descriptor hears of every signal all the same.
"""

import signal
import socket
from types import TracebackType
from typing import Self

_ENDING = {signal.SIGINT, signal.SIGTERM}


class Interrupts:
    """Listens while it is entered; in the main thread only, as Python demands."""

    def __enter__(self) -> Self:
        self._heard, self._told = socket.socketpair()
        self._heard.setblocking(False)
        self._told.setblocking(False)
        self._previous = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._previous)
        self._heard.close()
        self._told.close()

    def raise_if_any(self) -> None:
        """Raises KeyboardInterrupt if a signal to end came since we listen."""
        try:
            signals = self._heard.recv(4096)
        except BlockingIOError:
            return
        if _ENDING & set(signals):
            raise KeyboardInterrupt
