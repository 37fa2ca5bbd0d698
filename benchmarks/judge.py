"""Holds what was measured against the targets. Pure."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.measurement import Figure, Measurement, middle, of_scenario
from benchmarks.plan import Plan
from benchmarks.targets import TARGETS, Target

RUNS_TO_WARM_UP = 3

Figures = dict[str, float]
"""What a target's figure is, by the case that it is for; every one must be within the limit."""


class Verdict(NamedTuple):
    """A target, what was measured for it, and whether it is met; None where nothing could be measured."""

    target: Target
    measured: Figures
    met: bool | None


def verdicts(measurements: Sequence[Measurement], plan: Plan) -> list[Verdict]:
    """One for each target. A run whose outcome was wrong counts for none."""
    right = [each for each in measurements if not each.problems]
    return [_verdict(target, FIGURES[target.id](right, plan)) for target in TARGETS]


def failures(measurements: Sequence[Measurement]) -> list[str]:
    """A sentence for each run that came to a wrong end."""
    return [
        f"{each.scenario}, run {each.round + 1}: {', '.join(each.problems)}" for each in measurements if each.problems
    ]


def _verdict(target: Target, measured: Mapping[str, float | None]) -> Verdict:
    figures = {case: figure for case, figure in measured.items() if figure is not None}
    met = all(target.is_met(figure) for figure in figures.values()) if figures else None
    return Verdict(target, figures, met)


def against(measurements: Sequence[Measurement], one: str, other: str, figure: Figure) -> float | None:
    """How many times the figure of `one` is that of `other`: the median of the ratios within each round."""
    of_one, of_other = (
        {each.round: value for each in of_scenario(measurements, name) if (value := figure(each))}
        for name in (one, other)
    )
    ratios = [of_one[each] / of_other[each] for each in of_one.keys() & of_other.keys()]
    return median(ratios) if ratios else None


def _cpu_us(measurement: Measurement) -> float:
    return measurement.cpu_us


def _rate(measurement: Measurement) -> float:
    return measurement.messages_per_second


def _process_cpu(measurement: Measurement) -> float:
    return measurement.process_cpu_seconds


def _percent_more(ratio: float | None) -> float | None:
    return None if ratio is None else (ratio - 1) * 100


def _cpu(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    return {"median": middle(measurements, "ours_0", _cpu_us)}


def _against_plain(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    return {"median": against(measurements, "plain_0", "ours_0", _cpu_us)}


def _rate_at_15(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    return {"median": middle(measurements, "ours_15", _rate)}


def _two_processes(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    return {
        case: _percent_more(against(measurements, two, one, _cpu_us))
        for case, two, one in (
            ("0 ms", "two_0", "ours_0"),
            ("15 ms", "two_15", "ours_15"),
            ("given server", "two", "ours"),
        )
    }


def _dagster_run(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    return {
        f"{size:,} messages": _difference(measurements, plan.dagster_runs[size], plan.bare_runs[size])
        for size in plan.dagster_runs
    }


def _difference(measurements: Sequence[Measurement], one: str, other: str) -> float | None:
    """CPU seconds of whole processes: the median of the differences within each round."""
    of_one, of_other = (
        {each.round: _process_cpu(each) for each in of_scenario(measurements, name)} for name in (one, other)
    )
    differences = [of_one[each] - of_other[each] for each in of_one.keys() & of_other.keys()]
    return median(differences) if differences else None


def _sensor_drain(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    ratio = against(measurements, "sensor_15", "ours_15", _rate)
    return {"median": None if ratio is None else ratio * 100}


def _memory(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    peaks = [peak for each in of_scenario(measurements, "memory") if (peak := each.over_idle_mb) is not None]
    return {f"{len(peaks)} runs": max(peaks, default=None)}


def _memory_flat(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    """The first runs are left out: they import what no other has to, and fill what the process keeps for the next."""
    runs = of_scenario(measurements, "memory")
    peaks = [peak for each in runs[RUNS_TO_WARM_UP:] if (peak := each.peak_mb) is not None]
    part = max(len(peaks) // 3, 1)
    growth = median(peaks[-part:]) - median(peaks[:part]) if len(peaks) > 1 else None
    return {f"{len(runs)} runs": growth}


def _backlog(measurements: Sequence[Measurement], plan: Plan) -> dict[str, float | None]:
    """Each backlog is held against the smallest one."""
    smallest = plan.backlogs[min(plan.backlogs)]
    ratios = [against(measurements, name, smallest, _cpu_us) for name in plan.backlogs.values()]
    known = [ratio for ratio in ratios if ratio]
    sizes = f"{min(plan.backlogs):,} to {max(plan.backlogs):,}"
    return {sizes: _percent_more(max(known) / min(known)) if len(known) > 1 else None}


FIGURES: dict[str, Callable[[Sequence[Measurement], Plan], dict[str, float | None]]] = {
    "cpu": _cpu,
    "against_plain": _against_plain,
    "rate": _rate_at_15,
    "two_processes": _two_processes,
    "dagster_run": _dagster_run,
    "sensor_drain": _sensor_drain,
    "memory": _memory,
    "memory_flat": _memory_flat,
    "backlog": _backlog,
}
