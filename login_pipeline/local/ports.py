"""Ports on loopback: which are free, and whether somebody listens."""

import socket
import time
from collections.abc import Callable

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether a connection to the port is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def wait_until(ready: Callable[[], bool], *, seconds: float, still_possible: Callable[[], bool] = lambda: True) -> bool:
    """Asks `ready` until it is; False when the time is up or it is no longer possible."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until or not still_possible():
            return False
        time.sleep(0.05)
    return True
