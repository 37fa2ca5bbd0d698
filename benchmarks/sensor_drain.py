"""A whole deployment drains the queue on its own: the daemon, its code server, the sensor, and two workers.

The webserver is left out: no run needs it. The clock runs from the start of daemon and workers until the queue is empty
and every row is committed.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dagster as dg
import psutil

from benchmarks.dagster_run import DEPLOYED, deployment, instance_of
from benchmarks.measurement import Measurement
from benchmarks.measuring import Clocks, wrong
from benchmarks.outcome import outcome
from benchmarks.place import Place, Servers
from benchmarks.plan import Scenario
from benchmarks.processes import family_cpu_seconds
from login_pipeline.local import supervisor
from login_pipeline.settings import IN_FLIGHT_BUDGET
from login_pipeline_tests.redis_server import RedisServer

DAEMON = [sys.executable, "-m", "dagster._daemon", "run", "-m", "login_pipeline.definitions", "--log-level", "error"]
WORKERS = [[str(Path(sys.executable).with_name("login-pipeline")), "worker"]] * 2
# After which a drain counts as failed.
SECONDS = 1200.0
LAST_RUNS_SECONDS = 90.0
POLL = 0.2


def measure_sensor_drain(scenario: Scenario, servers: Servers, number: int) -> Measurement:
    """One drain of a backlog that is there when the daemon starts."""
    settings = {
        "LOGIN_SENSOR_ENABLED": "true",
        "LOGIN_RUN_INTERVAL": "0",  # a last batch that is not full would wait for more messages
        # As docs/scaling.md has it: a run for each worker, and batches as large as that allows.
        "LOGIN_MAX_CONCURRENT_RUNS": str(len(WORKERS)),
        "LOGIN_BATCH_SIZE": str(IN_FLIGHT_BUDGET // len(WORKERS)),
        **scenario.settings,
    }
    with (
        servers.place(scenario.messages, scenario.latency_ms, settings) as place,
        closing(RedisServer()) as redis,
        deployment(servers, {**place.environment, "LOGIN_REDIS_URL": redis.url}, DEPLOYED) as environment,
    ):
        clocks = Clocks(place, servers)
        began = time.time()
        with _processes([DAEMON, *WORKERS], environment) as processes:
            ended = _drained(place, until=began + SECONDS)
            server, database = clocks.server(), clocks.database()
            used = sum(map(family_cpu_seconds, processes))
            with instance_of(environment) as instance:
                runs = _ended_runs(instance)
        failed = [f"{len(runs) - runs.count('SUCCESS')} runs did not succeed"] if set(runs) != {"SUCCESS"} else []
        return Measurement(
            scenario=scenario.name,
            round=number,
            messages=scenario.messages,
            seconds=ended - began,
            cpu_seconds=used,
            process_cpu_seconds=used,
            server_cpu_seconds=server,
            database_cpu_seconds=database,
            problems=[*failed, *wrong(place)],
        )


@contextmanager
def _processes(commands: list[list[str]], environment: Mapping[str, str]) -> Iterator[list[psutil.Process]]:
    """All at once; ended with the block, and all that they have started."""
    env = {**environment, "PYTHONWARNINGS": "ignore"}
    with ExitStack() as stack:
        processes = []
        for command in commands:
            started = supervisor.start(command, log=Path(os.devnull), stop_signal=signal.SIGTERM, env=env)
            stack.callback(supervisor.stop, started)
            processes.append(psutil.Process(started.pid))
        yield processes


def _drained(place: Place, *, until: float) -> float:
    """When the queue was empty and every row was there; `until` where that did not come."""
    while time.time() < until:
        if not place.left()[0] and outcome(place).rows >= place.logins:
            return time.time()
        time.sleep(POLL)
    return until


def _ended_runs(instance: dg.DagsterInstance) -> list[str]:
    """How the runs ended, once they have: the last of them find nothing more, and poll for a while to be sure."""
    until = time.monotonic() + LAST_RUNS_SECONDS
    while not all(run.is_finished for run in instance.get_runs()) and time.monotonic() < until:
        time.sleep(POLL)
    return [run.status.value for run in instance.get_runs()]
