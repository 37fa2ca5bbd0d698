"""Runs the pipeline in a real process of its own, which ends as any process can: on its own, or by SIGKILL.

A process is forked from one that has imported Dagster and pandas already, so it costs about a second. It has
its own environment, and its output goes to a file. It does not outlive the process that asked for it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from login_pipeline.cli import drain, runs
from login_pipeline.settings import read_settings
from login_pipeline_tests.chaos.seams import Moment, listen

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])

# What the names of variables begin with that a run reads; none comes from the shell of who started us.
OURS = ("LOGIN_", "AWS_", "PG", "DAGSTER_HOME")

# In which a process that has said its last must be gone.
EXIT_SECONDS = 5.0

Work = Callable[[], Any]
Change = Callable[[], None]


class Orders(NamedTuple):
    """What the process gets: its settings, where its output goes, where to die, how to differ from the product.

    Where there is a `victim`, that process dies in its place, with all its children, the first time it is there.
    """

    environment: Mapping[str, str]
    output: Path
    die_at: Moment | None = None
    changes: tuple[Change, ...] = ()
    victim: int | None = None


class Ended(NamedTuple):
    """How a process ended: by SIGKILL or on its own, and then with what its work returned.

    Where SIGTERM ended it before its work began there is no result.
    """

    killed: bool
    result: Any = None


class RunProcess:
    """One process at `work`, a function that can be imported."""

    def __init__(self, work: Work, orders: Orders) -> None:
        self._ears, mouth = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=_live, args=(work, orders, mouth), daemon=True)
        self._process.start()
        mouth.close()
        self._result: Any = None
        self._silent = False

    def reaches(self, moment: Moment, *, seconds: float) -> bool:
        """Waits until the process says that it was at `moment`; False when it ended before, or time is up."""
        return self._hears(moment, seconds)

    def listen(self, *, seconds: float) -> None:
        """Waits so long, or until the process has ended."""
        self._hears(None, seconds)

    def kill(self) -> None:
        """Sends SIGKILL, also to one that has ended."""
        self._process.kill()

    def interrupt(self) -> None:
        """Sends SIGTERM, also to one that has ended."""
        self._process.terminate()

    def end(self, *, seconds: float) -> Ended:
        """Waits for the end.

        Raises:
            TimeoutError: it did not end within `seconds`, and was killed.
            RuntimeError: it ended on its own and without a result; its output says why.
        """
        self.listen(seconds=seconds)
        self._process.join(EXIT_SECONDS if self._silent else 0)
        late = self._process.is_alive()
        if late:
            self.kill()
            self._process.join()
        self._ears.close()
        if late:
            raise TimeoutError(f"a process did not end within {seconds:.0f} s")
        killed = self._process.exitcode == -signal.SIGKILL
        if self._result is None and not killed and self._process.exitcode != -signal.SIGTERM:
            raise RuntimeError(f"A run's process ended with exit code {self._process.exitcode} and no result")
        return Ended(killed, self._result)

    def _hears(self, moment: Moment | None, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._ears.poll(max(0, until - time.monotonic())):
            try:
                heard = self._ears.recv()
            except EOFError:
                self._silent = True
                return False
            if heard == moment:
                return True
            if not isinstance(heard, Moment):
                self._result = heard
        return False


def run_login_job() -> runs.Run:
    """One run of login_job, on the instance in DAGSTER_HOME if there is one."""
    with runs.dagster_instance() as instance:
        return runs.run("login_job", instance)


def drain_queue() -> drain.Totals:
    """What `login-pipeline drain` does."""
    with runs.dagster_instance() as instance:
        return drain.drain(read_settings(), instance, lambda *_: None)


def _live(work: Work, orders: Orders, mouth: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in list(os.environ):
        if name.startswith(OURS):
            del os.environ[name]
    os.environ.update(orders.environment)
    with orders.output.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    for change in orders.changes:
        change()
    speaking = threading.Lock()
    die_at = [orders.die_at]

    def tell(moment: Moment) -> None:
        if moment in die_at:
            die_at.clear()
            kill_all(orders.victim or os.getpid())
        with speaking:
            mouth.send(moment)

    listen(tell)
    mouth.send(work())


def kill_all(process: int) -> None:
    """Ends the process, so that it starts no other, and all its children."""
    parent = psutil.Process(process)
    children = parent.children(recursive=True)
    for each in (parent, *children):
        with suppress(psutil.NoSuchProcess):
            each.kill()


def _end_with_parent() -> None:
    """However the asking process ends, its end of this pipe closes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
