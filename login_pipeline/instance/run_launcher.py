"""Starts runs as forks of a process that has imported all that a run needs: a process for each, and no imports.

Python, Dagster, pandas and the SDK take some three seconds of CPU to import, which is more than the messages of most
batches take. A dagster.yaml names the launcher. What it forks holds no message, no connection and no thread of ours:
it imports, and waits. It has the code and the environment with which the daemon started: after a change of either the
daemon is to be started again.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from typing import Any, TypeVar

import dagster as dg
from dagster._cli.api import execute_run_command
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import DefaultRunLauncher, LaunchRunContext
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, deserialize_value, serialize_value

DEFINITIONS = "login_pipeline.definitions"
# Between two looks of a run at whether somebody wants it to end.
LOOK_SECONDS = 2.0
# Seconds in which a run may end on its own when the launcher goes.
LAST_SECONDS = 4.0
# Seconds that runs have to release their messages when the launcher goes.
GRACE = 30.0

Result = TypeVar("Result")
_FORKS = get_context("forkserver")


class ForkedRunLauncher(DefaultRunLauncher):
    """Launches the runs of this pipeline as forks, and those of other code as Dagster does by default."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._forks: list[ForkServerProcess] = []

    def launch_run(self, context: LaunchRunContext) -> None:
        """Returns when the run has its process."""
        run = context.dagster_run
        if not _is_ours(run):
            super().launch_run(context)
            return
        assert run.job_code_origin is not None  # noqa: S101 - it is ours
        arguments = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref(), True)
        prepare()
        fork = _FORKS.Process(target=execute_run, args=[serialize_value(arguments)], name=f"run {run.run_id}")
        fork.start()
        self._forks = [*(each for each in self._forks if each.is_alive()), fork]
        threading.Thread(target=_fail_if_lost, args=[self._instance, run.run_id, fork], daemon=True).start()

    def terminate(self, run_id: str) -> bool:
        """Has the run end itself, whichever process or host asks for it, and release its messages."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and GRPC_INFO_TAG in run.tags:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    def dispose(self) -> None:
        """Lets runs that are about to end do so, ends the others, and waits until they released their messages."""
        until = time.monotonic() + LAST_SECONDS
        for fork in self._forks:
            fork.join(max(0.0, until - time.monotonic()))
        for fork in self._forks:
            fork.terminate()
        for fork in self._forks:
            fork.join(GRACE)


def prepare() -> None:
    """Starts the process that runs are forked from, which takes some seconds to import all; once."""
    _FORKS.set_forkserver_preload(["__main__", __name__, DEFINITIONS, "login_pipeline.instance.storage"])
    forkserver.ensure_running()


def execute_run(arguments: str) -> None:
    """A run's process: `dagster api execute_run`, which Dagster's launchers for containers start, too."""
    ended = threading.Event()
    threading.Thread(target=_end_when_dagster_ends_it, args=[arguments, ended], daemon=True).start()
    try:
        execute_run_command.main([arguments], standalone_mode=False)
    finally:
        ended.set()


def _fail_if_lost(instance: dg.DagsterInstance, run_id: str, fork: ForkServerProcess) -> None:
    """A process that was killed cannot say so itself, and its run would keep its place."""
    fork.join()
    while fork.pid and _is_there(fork.pid):  # what it was forked from was killed, not the run
        time.sleep(LOOK_SECONDS)
    _once_it_answers(lambda: _report_lost(instance, run_id))


def _report_lost(instance: dg.DagsterInstance, run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, "The run's process ended before the run did: it was killed, or had no memory")


def _once_it_answers(ask: Callable[[], Result]) -> Result:
    """Dagster's storage may be away for a while, and that may be why a run ended."""
    while True:
        try:
            return ask()
        except Exception:
            time.sleep(LOOK_SECONDS)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # or somebody else's by now
        return False
    return True


def _end_when_dagster_ends_it(arguments: str, ended: threading.Event) -> None:
    """Run monitoring and a forced termination do not wait: the run is canceled, failed or deleted at once."""
    of: Any = deserialize_value(arguments, ExecuteRunArgs)
    if ended.wait(LOOK_SECONDS):
        return
    with dg.DagsterInstance.from_ref(of.instance_ref) as instance:
        while not ended.wait(LOOK_SECONDS):
            run = _once_it_answers(lambda: instance.get_run_by_id(of.run_id))
            if run is None or run.is_finished or run.status is dg.DagsterRunStatus.CANCELING:
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _is_ours(run: dg.DagsterRun) -> bool:
    """Whether it runs the code that was imported, with this very Python."""
    if run.job_code_origin is None:
        return False
    origin = run.job_code_origin.repository_origin
    pointer = origin.code_pointer
    return (
        isinstance(pointer, ModuleCodePointer)
        and pointer.module == DEFINITIONS
        and origin.executable_path == sys.executable
    )
