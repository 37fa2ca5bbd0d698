"""A whole deployment drains the queue by itself: the daemon, its code server, the sensor, and the runs that it starts.

The webserver is left out: no run needs it. The clock runs from the daemon's start until the queue is empty and every
row is committed. What the daemon and its code server took of that, until the sensor's first tick, is told beside it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.definitions.run_request import InstigatorType

from benchmarks.account import rows
from benchmarks.dagster_deployment import deployment, instance_of
from benchmarks.measurement import Measurement
from benchmarks.measuring import OURS, Clocks, Scenario, wrong
from benchmarks.process_cpu import family_cpu_seconds
from benchmarks.surroundings import Place, Surroundings
from login_pipeline.local import supervisor

COMMAND = [sys.executable, "-m", "dagster._daemon", "run", "-m", "login_pipeline.definitions", "--log-level", "error"]
SECONDS = 1200.0
"""After which a drain counts as failed."""
LAST_RUNS_SECONDS = 90.0
POLL = 0.2


def measure_sensor_drain(scenario: Scenario, surroundings: Surroundings, number: int) -> Measurement:
    """One drain of a backlog that is there when the daemon starts."""
    # A last batch that is not full would wait for more messages.
    settings = {"LOGIN_SENSOR_ENABLED": "true", "LOGIN_RUN_INTERVAL": "0", **scenario.settings}
    with (
        surroundings.place(scenario.messages, scenario.latency_ms, settings) as place,
        deployment(surroundings, place.environment) as environment,
    ):
        clocks = Clocks(place, surroundings)
        began = time.time()
        with _daemon(environment) as daemon:
            ended = _drained(place, until=began + SECONDS)
            server, database = clocks.server(), clocks.database()
            used = family_cpu_seconds(daemon)
            with instance_of(environment) as instance:
                runs = _ended_runs(instance)
                first_tick = _first_tick(instance)
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
            problems=[*failed, *wrong(OURS, place)],
            figures={
                "runs": len(runs),
                "daemon_start_seconds": round((first_tick or began) - began, 3),
            },
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
        if place.backlog.is_empty() and rows(place.database_url) >= place.backlog.sent.logins:
            return time.time()
        time.sleep(POLL)
    return until


def _ended_runs(instance: dg.DagsterInstance) -> list[str]:
    """How the runs ended, once they have: the last of them find nothing more, and poll for a while to be sure."""
    until = time.monotonic() + LAST_RUNS_SECONDS
    while not all(run.is_finished for run in instance.get_runs()) and time.monotonic() < until:
        time.sleep(POLL)
    return [run.status.value for run in instance.get_runs()]


def _first_tick(instance: dg.DagsterInstance) -> float | None:
    """When the sensor was first asked, in seconds since the epoch."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    ticks: list[Any] = [
        tick for state in states for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
    ]
    return min((tick.timestamp for tick in ticks), default=None)
