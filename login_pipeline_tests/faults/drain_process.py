"""`login-pipeline drain` in a process of its own, to which signals can be sent.

It is forked from a process that has imported Dagster already, so that it is at work at once.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from login_pipeline.cli import main as cli
from login_pipeline_tests.chaos import run_process  # noqa: F401 - what the processes are forked from has it, too

# Seconds to end in: less than the 30 that Kubernetes gives a pod before it kills it.
GRACE = 25

_PROCESSES = multiprocessing.get_context("forkserver")


class Drain:
    """A drain that has been started."""

    def __init__(self, folder: Path, *, in_background: bool) -> None:
        self._errors = folder / "stderr"
        arguments = (dict(os.environ), self._errors, in_background)
        self._process = _PROCESSES.Process(target=_drain, args=arguments, daemon=True)
        self._process.start()

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self) -> None:
        """Returns when it has ended.

        Raises:
            AssertionError: it has not within its grace time.
        """
        self._process.join(GRACE)
        assert not self._process.is_alive(), "it does not end"

    def kill(self) -> None:
        """Ends it, if it has not ended yet."""
        self._process.kill()
        self._process.join()

    @property
    def exit_code(self) -> int | None:
        """With what it ended."""
        return self._process.exitcode

    @property
    def last_line(self) -> str:
        """The last thing that it reported."""
        return (self._errors.read_text().strip().splitlines() or [""])[-1]


@contextmanager
def drain(folder: Path, *, in_background: bool = False) -> Iterator[Drain]:
    """A drain with this process's environment, which does not outlive the block.

    Args:
        folder: For what it writes to stderr.
        in_background: Start it as a shell does for `&` in a script, with SIGINT ignored, under a supervisor that
            leaves SIGTERM blocked.
    """
    process = Drain(folder, in_background=in_background)
    try:
        yield process
    finally:
        process.kill()


def _drain(environment: Mapping[str, str], errors: Path, in_background: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN if in_background else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM} if in_background else ())
    os.environ.clear()
    os.environ.update(environment)
    for stream, file in ((1, Path(os.devnull)), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.argv = ["login-pipeline", "drain"]
    cli.main()
