"""Runs on workers, as deploy/dagster.yaml has them: a Redis server and workers as processes, and the daemon's part."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from login_pipeline.definitions import defs
from login_pipeline.local.ports import wait_until
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, wait_for
from login_pipeline_tests.faults.sqs_faults import Hold
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.redis_server import RedisServer

LONG = 90


class Worker:
    """`login-pipeline worker`."""

    def __init__(self, log: Path) -> None:
        command = [str(Path(sys.executable).with_name("login-pipeline")), "worker"]
        with log.open("w") as file:
            self.process = psutil.Popen(command, stdout=file, stderr=file)
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)] if self.process.is_running() else []

    def stop(self) -> int:
        """As a container is stopped; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return int(self.process.wait(60))

    def kill(self) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()


@dataclass
class Cluster:
    pipeline: Pipeline
    instance: dg.DagsterInstance
    redis: RedisServer
    folder: Path
    stack: ExitStack
    workers: list[Worker] = field(default_factory=list)

    def worker(self) -> Worker:
        worker = Worker(self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        self.stack.callback(worker.kill)
        return worker

    def launch(self, tags: Mapping[str, str] | None = None) -> str:
        """As the daemon does; the id of the run."""
        origin = ReconstructableRepository.for_module("login_pipeline.definitions", "defs")
        run = self.instance.create_run_for_job(
            defs.resolve_job_def("login_job"),
            job_code_origin=origin.get_reconstructable_job("login_job").get_python_origin(),
            status=dg.DagsterRunStatus.STARTING,
            tags=tags,
        )
        self.instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        return run.run_id

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def ends(self, run_id: str, status: dg.DagsterRunStatus, *, seconds: float = LONG) -> bool:
        return wait_until(lambda: self.run(run_id).status is status, seconds=seconds)

    def monitored(self, instance: dg.DagsterInstance | None = None) -> None:
        """One look of the daemon's run monitoring."""
        with WorkspaceProcessContext(instance or self.instance, EmptyWorkspaceTarget()) as daemon:
            list(execute_run_monitoring_iteration(daemon, logging.getLogger(__name__)))

    def until_monitored(self, seen: Callable[[], bool], *, seconds: float) -> bool:
        """Looks again and again."""

        def look() -> bool:
            self.monitored()
            return seen()

        return wait_until(look, seconds=seconds)

    def process(self, run_id: str) -> psutil.Process:
        (process,) = self.began(run_id)
        return psutil.Process(process)

    def began(self, run_id: str) -> list[int]:
        """The ids of the processes in which it began."""
        messages = [event.message or "" for event in self.instance.all_logs(run_id)]
        started = [message for message in messages if message.startswith("Started process for run")]
        return [int("".join(filter(str.isdigit, message))) for message in started]


@contextmanager
def cluster(
    pipeline: Pipeline, folder: Path, configuration: Path = ROOT / "deploy" / "dagster.yaml"
) -> Iterator[Cluster]:
    """Without a worker yet."""
    (folder / "dagster.yaml").write_bytes(configuration.read_bytes())
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.close)
        pipeline.set(
            LOGIN_DAGSTER_DATABASE_URL=pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://"),
            LOGIN_REDIS_URL=server.url,
            LOGIN_MAX_CONCURRENT_RUNS=pipeline.environment.get("LOGIN_MAX_CONCURRENT_RUNS", 2),
            DAGSTER_HOME=str(folder),
        )
        yield Cluster(pipeline, stack.enter_context(dg.DagsterInstance.get()), server, folder, stack)


@contextmanager
def loading(
    cluster: Cluster, account: Account, sqs_proxy: SqsProxy, runs: int = 1, tags: Mapping[str, str] | None = None
) -> Iterator[list[str]]:
    """The ids of runs in the middle of their loads, of 3 messages each, which a lock on the table holds."""
    account.send(3 * runs)
    receiving = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", receiving):
        ids = [cluster.launch(tags) for _ in range(runs)]
        receiving.wait(runs)
        with locked(cluster.pipeline.database):
            receiving.let_go()
            wait_for(cluster.pipeline.database, WAITING_LOADS, runs)
            yield ids
