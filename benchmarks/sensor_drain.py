"""A whole deployment drains the queue on its own: the daemon, its code server, the sensor, and the runs that it starts.

The webserver is left out: no run needs it. The clock runs from the daemon's start until the queue is empty and every
row is committed.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil

from benchmarks.dagster_run import deployment, instance_of
from benchmarks.measurement import Measurement
from benchmarks.measuring import Clocks, wrong
from benchmarks.outcome import outcome
from benchmarks.place import Place, Servers
from benchmarks.plan import Scenario
from benchmarks.processes import family_cpu_seconds
from login_pipeline.local import supervisor

COMMAND = [sys.executable, "-m", "dagster._daemon", "run", "-m", "login_pipeline.definitions", "--log-level", "error"]
# After which a drain counts as failed.
SECONDS = 1200.0
LAST_RUNS_SECONDS = 90.0
POLL = 0.2


def measure_sensor_drain(scenario: Scenario, servers: Servers, number: int) -> Measurement:
    """One drain of a backlog that is there when the daemon starts."""
    # A last batch that is not full would wait for more messages.
    settings = {"LOGIN_SENSOR_ENABLED": "true", "LOGIN_RUN_INTERVAL": "0", **scenario.settings}
    with (
        servers.place(scenario.messages, scenario.latency_ms, settings) as place,
        deployment(servers, place.environment) as environment,
    ):
        clocks = Clocks(place, servers)
        began = time.time()
        with _daemon(environment) as daemon:
            ended = _drained(place, until=began + SECONDS)
            server, database = clocks.server(), clocks.database()
            used = family_cpu_seconds(daemon)
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
def _daemon(environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    """The daemon, which starts the code server, which starts the runs; all ended with the block."""
    started = supervisor.start(
        COMMAND, log=Path(os.devnull), stop_signal=signal.SIGINT, env={**environment, "PYTHONWARNINGS": "ignore"}
    )
    try:
        yield psutil.Process(started.pid)
    finally:
        supervisor.stop(started)


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
