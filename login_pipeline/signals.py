"""SIGINT and SIGTERM where they must not be lost, and where they must not cut something off."""

import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Self

_ENDING = {signal.SIGINT, signal.SIGTERM}


def raise_at_signals(signals: Collection[signal.Signals] = _ENDING) -> None:
    """From now on the signals raise KeyboardInterrupt in this process, however it was started.

    A shell ignores SIGINT for what a script starts with `&`, and a supervisor may leave signals ignored or blocked.
    SIGINT cannot stay ignored: Dagster gives SIGTERM the handler that SIGINT had. Source: dagster/_utils/interrupts.py.
    """
    for each in signals:
        signal.signal(each, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def ignore_signals() -> None:
    """From now on SIGINT and SIGTERM do nothing: what ends this process is under way."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)


@contextmanager
def deferred_interrupts(stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Defers SIGINT and SIGTERM until the block is left; only the main thread ever gets one.

    Args:
        stop: Called at the first signal, so that the block comes to its end sooner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def defer(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:  # a second signal can come while the first one's stop() holds a lock
            stop()

    try:
        with ExitStack() as handlers:  # restores each, also where a signal comes between two of them
            for each in _ENDING:
                handlers.callback(signal.signal, each, signal.getsignal(each))
                signal.signal(each, defer)
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


class Interrupts:
    """Remembers that SIGINT or SIGTERM came, also when the exception for it was lost.

    Dagster raises an exception from its signal handler. Where the signal hits a callback of the garbage
    collector, Python prints that exception and goes on. Python writes every signal to the wakeup descriptor
    all the same. It is set while this is entered; in the main thread only, as Python demands.
    """

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._previous)
        self._reader.close()
        self._writer.close()

    def raise_if_any(self) -> None:
        """Raises KeyboardInterrupt if SIGINT or SIGTERM came since entry."""
        try:
            signals = self._reader.recv(4096)
        except BlockingIOError:
            return
        if _ENDING & set(signals):
            raise KeyboardInterrupt
