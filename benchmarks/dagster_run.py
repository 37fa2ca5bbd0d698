"""One run of login_job as a launcher starts it: a process of its own, `dagster api execute_run`.

Dagster's launchers for containers, Kubernetes, ECS and Celery start exactly this command. What it costs more than the
bare engine's process, which imports and connects too, is what Dagster costs.
"""

import sys
import time
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._grpc.types import ExecuteRunArgs

from benchmarks.children import running
from benchmarks.dagster_deployment import deployment, instance_of
from benchmarks.measurement import Measurement
from benchmarks.measuring import OURS, Clocks, Scenario, crashes, wrong
from benchmarks.surroundings import Surroundings
from login_pipeline.definitions import defs

JOB = "login_job"


def measure_run(scenario: Scenario, surroundings: Surroundings, number: int) -> Measurement:
    """One run that takes all messages of the scenario as one batch."""
    with (
        surroundings.place(scenario.messages, scenario.latency_ms, scenario.settings) as place,
        deployment(surroundings, place.environment) as environment,
    ):
        run_id, command = _created_run(environment)
        clocks = Clocks(place, surroundings)
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
            problems=[*_failure(environment, run_id), *crashes([ended]), *wrong(OURS, place)],
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
