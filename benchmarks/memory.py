"""The memory of runs of login_job, one after another in one process, each on a full batch."""

import json
from collections.abc import Iterator

from benchmarks.measurement import Measurement
from benchmarks.measuring import Clocks, crashes, wrong
from benchmarks.place import Servers, shell_settings
from benchmarks.plan import Scenario
from benchmarks.processes import Child, started

MODULE = "benchmarks.contenders.many_runs"


def measure_memory(scenario: Scenario, servers: Servers, runs: int) -> Iterator[Measurement]:
    """Each of the runs, on queues and a database of its own; `idle_mb` is the process's before the first of them."""
    idle_mb = None
    with started(MODULE, shell_settings()) as (child,):
        for number in range(runs):
            measured = _one(child, scenario, servers, number, idle_mb)
            idle_mb = measured.idle_mb
            yield measured
            if not child.said:
                return  # it has crashed


def _one(child: Child, scenario: Scenario, servers: Servers, number: int, idle_mb: float | None) -> Measurement:
    with servers.place(scenario.messages, scenario.latency_ms, scenario.settings) as place:
        clocks = Clocks(place, servers)
        child.go(json.dumps(place.environment))
        said = child.line()
        crashed = [] if said else crashes([child.wait()])
        return Measurement(
            scenario=scenario.name,
            round=number,
            messages=scenario.messages,
            seconds=said.get("seconds", 0.0),
            cpu_seconds=said.get("cpu_seconds", 0.0),
            process_cpu_seconds=said.get("cpu_seconds", 0.0),
            server_cpu_seconds=clocks.server(),
            database_cpu_seconds=clocks.database(),
            idle_mb=said.get("idle_mb") if idle_mb is None else idle_mb,
            peak_mb=said.get("peak_mb"),
            problems=[*crashed, *wrong(place)],
        )
