"""Measures the pipeline and a plain script, and holds the pipeline to its targets: `make bench`.

It starts its own SQS server and its own PostgreSQL. Exit codes: 0 all targets met; 1 one is missed, or a run came to a
wrong end, by name; 130 interrupted.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.dagster_run import measure_run
from benchmarks.measurement import Measurement
from benchmarks.measuring import measure
from benchmarks.memory import measure_memory
from benchmarks.place import Servers, servers
from benchmarks.plan import memory_scenario, scenarios
from benchmarks.report import complaints, show
from benchmarks.sensor_drain import measure_sensor_drain

ROUNDS, MEMORY_RUNS = 3, 10
MEASURES = {"dagster_run_1000": measure_run, "dagster_run_100000": measure_run, "sensor_15": measure_sensor_drain}


def main() -> int:
    """The exit code; a signal ends it as Ctrl-C does."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _interrupt)
    names = [*dict.fromkeys(each.name for each in scenarios()), memory_scenario().name]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    try:
        return benchmark(given.only, given.rounds)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; what was started is stopped\n")
        return 130


def benchmark(names: Sequence[str], rounds: int) -> int:
    """The exit code of a benchmark of these scenarios."""
    started = time.monotonic()
    measurements = []
    with servers() as running:
        for measured in _measure_all(running, names, rounds):
            sys.stderr.write(f"{time.monotonic() - started:5.0f} s  {_line(measured)}\n")
            measurements.append(measured)
    show(measurements)
    wrong = list(complaints(measurements))
    sys.stderr.writelines(f"{sentence}\n" for sentence in wrong)
    return 1 if wrong else 0


def _measure_all(running: Servers, names: Sequence[str], rounds: int) -> Iterator[Measurement]:
    """In each round every scenario, in turn, so that what disturbs the machine disturbs them alike."""
    before: Counter[str] = Counter()
    for _ in range(rounds):
        for scenario in scenarios():
            if scenario.name in names:
                yield MEASURES.get(scenario.name, measure)(scenario, running, before[scenario.name])
                before[scenario.name] += 1
    if memory_scenario().name in names:
        yield from measure_memory(memory_scenario(), running, MEMORY_RUNS)


def _line(measured: Measurement) -> str:
    line = (
        f"run {measured.round + 1:<3} {measured.scenario:20} {measured.messages:>9,} messages  "
        f"{measured.messages_per_second:>8,.0f} /s  {measured.cpu_us:>8,.1f} us"
    )
    return f"{line}  WRONG: {', '.join(measured.problems)}" if measured.problems else line


def _interrupt(*_: object) -> None:
    """Stopping takes seconds, and is not to be stopped."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
