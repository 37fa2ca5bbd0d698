"""Contenders as processes: started together, waited for, and what they say about themselves."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import psutil

# After which a contender that hangs is ended.
SECONDS = 1800.0


class Ended(NamedTuple):
    """A process that has ended: what it said, its exit code, the CPU seconds of all of it, and its last line."""

    said: dict[str, Any]
    exit_code: int
    cpu_seconds: float
    last_line: str


@contextmanager
def started(
    module: str, environment: Mapping[str, str], *arguments: str, processes: int = 1
) -> Iterator[list["Child"]]:
    """The contender, so many times, each connected and waiting for `go`; ended when the block is left."""
    command = [sys.executable, "-m", module, "--wait", *arguments]
    with ExitStack() as stack:
        children = [stack.enter_context(running(command, environment)) for _ in range(processes)]
        for child in children:
            child.wait_until_ready()
        yield children


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator["Child"]:
    """The command's process, ended when the block is left."""
    with TemporaryFile("w+") as errors:
        child = Child(command, environment, errors)
        try:
            yield child
        finally:
            child.end()


class Child:
    """One process of a contender."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], errors: IO[str]) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        self._timer = threading.Timer(SECONDS, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        self.said: dict[str, Any] = {}

    def wait_until_ready(self) -> None:
        """Returns when it can begin, or has failed."""
        assert self._process.stdout is not None  # noqa: S101 - made above
        self._process.stdout.readline()

    def go(self, word: str = "go") -> None:
        """Lets it begin."""
        assert self._process.stdin is not None  # noqa: S101 - made above
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # its exit code says more

    def line(self) -> dict[str, Any]:
        """The next JSON object that it says, which `said` keeps; empty when it has ended without."""
        assert self._process.stdout is not None  # noqa: S101 - made above
        for line in self._process.stdout:
            if line.startswith("{"):
                self.said = json.loads(line)
                return self.said
        return {}

    def wait(self) -> Ended:
        """Waits for its end."""
        while self.line():
            pass
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._timer.cancel()
        self._errors.seek(0)
        last_line = (self._errors.read().splitlines() or [""])[-1]
        return Ended(self.said, self._process.returncode, used.ru_utime + used.ru_stime, last_line)

    def end(self) -> None:
        """Ends it, where it has not ended."""
        self._timer.cancel()
        if self._process.poll() is None:
            self._process.terminate()
            until = time.monotonic() + 20
            while self._process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # of what a process that has crashed was sent
                    pipe.close()


def family_cpu_seconds(process: psutil.Process) -> float:
    """What a process and all that it has started used, in user and system mode, those included that have ended."""
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used
