"""Runs one server and ends it, with all its children, when the process that asked for it is gone.

The asking process holds the other end of our standard input. However it ends, by kill -9 too, that end
closes, and reading here returns. We run in a session of our own, so that a Ctrl-C in the terminal does not
reach the server before its owner has finished with it. A signal raises nothing here, as it does elsewhere (signals.py):
our handlers send the server its stop signal, and this process ends when the server has.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from login_pipeline.signals import raise_at_signals

# The supervisor's process. Its end is the server's end, and its exit code the server's.
Supervisor = subprocess.Popen[bytes]

# Seconds that the server, and then its children, have to end by themselves after their signal.
GRACE = 20.0
# Source: Linux, prctl(2).
PR_SET_PDEATHSIG = 1


def start(
    command: list[str],
    *,
    log: Path | None,
    stop_signal: signal.Signals,
    env: dict[str, str],
    account: tuple[int, int] | None = None,
    keep_open: tuple[int, ...] = (),
) -> Supervisor:
    """Starts a supervisor that runs `command`; it ends when `stop` is called or this process is gone.

    Args:
        command: The server and its arguments.
        log: The file that the server's output is appended to; without it the output is ours.
        stop_signal: What ends the server.
        env: The server's whole environment.
        account: The user and group id to run the server as, where it must not be root.
        keep_open: File descriptors that the supervisor keeps, so that a lock lasts until the server has ended.
    """
    uid, gid = account or (-1, -1)
    with log.open("ab") if log else nullcontext() as output:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, stop_signal.name, str(uid), str(gid), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            pass_fds=keep_open,
            start_new_session=True,
        )


def stop(supervisor: Supervisor) -> None:
    """Ends the server and waits until it, and all its children, are gone."""
    assert supervisor.stdin is not None  # noqa: S101 - start() made the pipe
    supervisor.stdin.close()
    supervisor.wait()


def main(stop_signal: signal.Signals, uid: int, gid: int, command: list[str]) -> int:
    """Runs the command until it ends or our standard input closes; returns its exit code."""
    raise_at_signals()  # the server would inherit what is ignored or blocked, and miss its stop signal
    as_account: dict[str, Any] = {} if uid < 0 else {"user": uid, "group": gid, "extra_groups": []}
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_end_with_supervisor(stop_signal), **as_account
    )

    def end(*_: object) -> None:
        if server.poll() is None:
            server.send_signal(stop_signal)
            signal.setitimer(signal.ITIMER_REAL, GRACE)

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, end)
    signal.signal(signal.SIGALRM, lambda *_: server.kill())
    threading.Thread(target=_end_with_owner, daemon=True).start()
    code = server.wait()
    signal.setitimer(signal.ITIMER_REAL, 0)
    _end_group(server.pid)
    return code


def _end_with_owner() -> None:
    os.read(0, 1)  # not sys.stdin: Python could not end while this thread holds its lock
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with_supervisor(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """On Linux the kernel signals the server when the supervisor was killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, stop_signal.value) and None


def _end_group(group: int) -> None:
    """Ends what the server started and left behind: by SIGTERM, and after the grace time by SIGKILL."""
    until = time.monotonic() + GRACE
    try:
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < until:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(signal.Signals[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
