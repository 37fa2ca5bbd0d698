"""SIGINT and SIGTERM where they must not be lost, and where they must not cut something off."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = {signal.SIGINT, signal.SIGTERM}
# How long a callback that is under way is waited for.
CALLBACK_SECONDS = 5.0


def raise_at_signals() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in this process, however it was started.

    A shell ignores SIGINT for what a script starts with `&`, and a supervisor may leave signals ignored or blocked.
    SIGINT cannot stay ignored: Dagster gives SIGTERM the handler that SIGINT had. Source: dagster/_utils/interrupts.py.
    """
    for each in _ENDING:
        signal.signal(each, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def ignore_signals() -> None:
    """From now on SIGINT and SIGTERM do nothing: what ends this process is under way."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)


@contextmanager
def deferred_interrupts(stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds signals to end until the block is left; only the main thread ever gets one.

    Args:
        stop: Called at the first signal, so that the block comes to its end sooner.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if len(came) == 1:  # a second signal can come while the first one's stop() holds a lock
            stop()

    previous = {each: signal.signal(each, hold) for each in _ENDING}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        for number, frame in came[:1]:
            handler = previous[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)


@contextmanager
def call_at_signals(callback: Callable[[], None]) -> Iterator[None]:
    """Calls `callback` in a thread of its own at each signal to end, in the main thread's block only.

    Also while C code keeps Python from handling it, and where the exception for it is lost: Dagster raises one from its
    signal handler, and where the signal hits a callback of the garbage collector, Python prints it and goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received, sent = socket.socketpair()
    sent.setblocking(False)
    before = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := received.recv(4096):
            if before != -1:
                os.write(before, numbers)
            if _ENDING & set(numbers):
                callback()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sent.close()
        listener.join(CALLBACK_SECONDS)
        received.close()
