"""One run of login_job as a launcher starts it: a process of its own, `dagster api execute_run`.

Dagster's launchers for containers, Kubernetes, ECS and Celery start exactly this command. What it costs more than the
bare engine's process, which imports and connects too, is what Dagster costs.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.types import ExecuteRunArgs

from benchmarks.measurement import Measurement
from benchmarks.measuring import Clocks, crashes, wrong
from benchmarks.place import Servers, environment_of
from benchmarks.plan import Scenario
from benchmarks.processes import running
from login_pipeline.definitions import defs
from login_pipeline.local.services import temporary_folder

JOB = "login_job"
OF_ONE_HOST = files("login_pipeline.local").joinpath("dagster.yaml")
DEPLOYED = Path(__file__).parents[1] / "deploy" / "dagster.yaml"


def measure_run(scenario: Scenario, servers: Servers, number: int) -> Measurement:
    """One run that takes all messages of the scenario as one batch."""
    with (
        servers.place(scenario.messages, scenario.latency_ms, scenario.settings) as place,
        deployment(servers, place.environment) as environment,
    ):
        run_id, command = _created_run(environment)
        clocks = Clocks(place, servers)
        started = time.monotonic()
        with running(command, environment) as child:
            ended = child.wait()
        seconds = time.monotonic() - started
        return Measurement(
            scenario=scenario.name,
            round=number,
            messages=scenario.messages,
            seconds=seconds,
            cpu_seconds=ended.cpu_seconds,
            process_cpu_seconds=ended.cpu_seconds,
            server_cpu_seconds=clocks.server(),
            database_cpu_seconds=clocks.database(),
            problems=[*_failure(environment, run_id), *crashes([ended]), *wrong(place)],
        )


def _created_run(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """A run that is not started yet, and the command that executes it."""
    repository = ReconstructableRepository.for_module("login_pipeline.definitions", "defs")
    origin = repository.get_reconstructable_job(JOB).get_python_origin()
    with instance_of(environment) as instance:
        run = instance.create_run_for_job(
            defs.resolve_job_def(JOB), job_code_origin=origin, status=dg.DagsterRunStatus.STARTING
        )
        arguments = ExecuteRunArgs(origin, run.run_id, instance.get_ref(), set_exit_code_on_failure=True)
    return run.run_id, [sys.executable, "-m", *arguments.get_command_args()]


def _failure(environment: Mapping[str, str], run_id: str) -> list[str]:
    with instance_of(environment) as instance:
        run = instance.get_run_by_id(run_id)
    status = run.status.value if run else "lost"
    return [] if status == dg.DagsterRunStatus.SUCCESS.value else [f"the run is {status}"]


@contextmanager
def deployment(
    servers: Servers, environment: Mapping[str, str], configuration: Traversable = OF_ONE_HOST
) -> Iterator[dict[str, str]]:
    """The environment with a DAGSTER_HOME of this dagster.yaml, all of its state in a database of its own."""
    with servers.fresh_database() as url, temporary_folder() as home:
        (home / "dagster.yaml").write_text(configuration.read_text(encoding="utf-8"), encoding="utf-8")
        storage = urlunsplit(urlsplit(url)._replace(scheme="postgresql+psycopg2"))
        defaults = {"LOGIN_MAX_CONCURRENT_RUNS": "1"}  # dagster.yaml reads it, and knows no default
        yield {**defaults, **environment, "DAGSTER_HOME": str(home), "LOGIN_DAGSTER_DATABASE_URL": storage}


@contextmanager
def instance_of(environment: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """The instance that this environment names."""
    with environment_of(environment), dg.DagsterInstance.get() as instance:
        yield instance
