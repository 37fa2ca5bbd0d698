"""All rounds: in each of them every scenario once, in turn, so that what disturbs the machine disturbs them alike."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from rich.console import Console

from benchmarks.measurement import Measurement
from benchmarks.memory import measure_memory
from benchmarks.plan import Plan
from benchmarks.surroundings import Surroundings


def campaign(plan: Plan, surroundings: Surroundings) -> list[Measurement]:
    """Every run's measurement; each is told on stderr as it comes."""
    console = Console(stderr=True, highlight=False)
    measurements = []
    started = time.monotonic()
    for measured in chain(_rounds(plan, surroundings), measure_memory(plan.memory, surroundings, plan.memory_runs)):
        console.print(_line(measured, time.monotonic() - started), soft_wrap=True)
        measurements.append(measured)
    return measurements


def _rounds(plan: Plan, surroundings: Surroundings) -> Iterator[Measurement]:
    before: Counter[str] = Counter()
    for number in range(plan.rounds):
        for scenario, measure, rounds in plan.planned:
            if number < rounds:
                yield measure(scenario, surroundings, before[scenario.name])
                before[scenario.name] += 1


def _line(measured: Measurement, seconds: float) -> str:
    line = (
        f"{seconds:5.0f} s  run {measured.round + 1:<3} {measured.scenario:20} {measured.messages:>9,} messages  "
        f"{measured.messages_per_second:>8,.0f} /s  {measured.cpu_us:>8,.1f} us"
    )
    return f"{line}  WRONG: {', '.join(measured.problems)}" if measured.problems else line
