"""What this project promises of its speed: every target, and how its figure follows from what was measured. Pure."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.measurement import Figure, Measurement, middle, of_scenario
from benchmarks.plan import BACKLOGS

# The first runs of a process import what no other has to, and fill what the process keeps for the next.
RUNS_TO_WARM_UP = 3

Measurements = Sequence[Measurement]


class Target(NamedTuple):
    """A figure that must be `limit` at most, or at least. It is None where nothing could be measured."""

    id: str
    says: str
    unit: str
    limit: float
    figure: Callable[[Measurements], float | None]
    at_least: bool = False

    def is_met(self, figure: float) -> bool:
        """Whether the figure is within the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit


def _cpu_us(measurement: Measurement) -> float:
    return measurement.cpu_us


def _process_cpu(measurement: Measurement) -> float:
    return measurement.process_cpu_seconds


def _rate(measurement: Measurement) -> float:
    return measurement.messages_per_second


def _ratio(measurements: Measurements, one: str, other: str, figure: Figure) -> float | None:
    """How many times the figure of `one` is that of `other`: the median of the ratios within each round."""
    pairs = _in_rounds(measurements, one, other, figure)
    return median(of_one / of_other for of_one, of_other in pairs) if pairs else None


def _in_rounds(measurements: Measurements, one: str, other: str, figure: Figure) -> list[tuple[float, float]]:
    of_one, of_other = (
        {each.round: value for each in of_scenario(measurements, name) if (value := figure(each))}
        for name in (one, other)
    )
    return [(of_one[number], of_other[number]) for number in of_one.keys() & of_other.keys()]


def _percent(ratio: float | None, *, of: float = 0.0) -> float | None:
    return None if ratio is None else (ratio - of) * 100


def _memory(measurements: Measurements) -> float | None:
    peaks = [peak for each in of_scenario(measurements, "memory") if (peak := each.over_idle_mb) is not None]
    return max(peaks, default=None)


def _growth(measurements: Measurements) -> float | None:
    """From the first third of the runs to the last."""
    runs = of_scenario(measurements, "memory")[RUNS_TO_WARM_UP:]
    peaks = [peak for each in runs if (peak := each.peak_mb) is not None]
    part = max(len(peaks) // 3, 1)
    return median(peaks[-part:]) - median(peaks[:part]) if len(peaks) > 1 else None


def _backlog(measurements: Measurements) -> float | None:
    """Each backlog is held against the smallest one; the most against the least."""
    names = [f"backlog_{size}" for size in BACKLOGS]
    ratios = [ratio for name in names if (ratio := _ratio(measurements, name, names[0], _cpu_us))]
    return _percent(max(ratios) / min(ratios), of=1.0) if len(ratios) > 1 else None


TARGETS = (
    Target(
        "cpu",
        "client CPU a message, the whole way, no latency",
        "us",
        45,
        figure=lambda measured: middle(measured, "ours_0", _cpu_us),
    ),
    Target(
        "against_plain",
        "times less client CPU than the plain script, no latency",
        "x",
        25,
        figure=lambda measured: _ratio(measured, "plain_0", "ours_0", _cpu_us),
        at_least=True,
    ),
    Target(
        "rate",
        "one process, 15 ms a call",
        "messages/s",
        12_000,
        figure=lambda measured: middle(measured, "ours_15", _rate),
        at_least=True,
    ),
    Target(
        "two_processes",
        "CPU a message with two processes at once, against one",
        "% more",
        10,
        figure=lambda measured: _percent(_ratio(measured, "two_0", "ours_0", _cpu_us), of=1.0),
    ),
    Target(
        "dagster_run",
        "CPU of the process of a Dagster run of 1,000 messages, against that of the bare engine",
        "x",
        3.5,
        figure=lambda measured: _ratio(measured, "dagster_run_1000", "bare_run_1000", _process_cpu),
    ),
    Target(
        "sensor_drain",
        "a drain by the sensor, the daemon's start included, 15 ms a call, against one bare process",
        "% of its rate",
        60,
        figure=lambda measured: _percent(_ratio(measured, "sensor_15", "ours_15", _rate)),
        at_least=True,
    ),
    Target("memory", "peak of a run at a batch of 50,000, over the idle process", "MB", 400, figure=_memory),
    Target(
        "memory_flat", "growth of that peak, from the first runs of a process to its last", "MB", 20, figure=_growth
    ),
    Target(
        "backlog",
        "CPU a message over the size of the backlog, in equal batches, the most against the least",
        "% more",
        10,
        figure=_backlog,
    ),
)
