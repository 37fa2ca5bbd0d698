"""The targets and the outcome of a run must be able to fail; no speed is tested here."""

from typing import Any

import pytest

from benchmarks.__main__ import benchmark
from benchmarks.measurement import Measurement
from benchmarks.outcome import Outcome, problems
from benchmarks.report import complaints
from benchmarks.targets import TARGETS

# Of a million messages each, so that seconds of CPU are microseconds a message.
WELL: dict[str, dict[str, Any]] = {
    "plain_0": {"cpu_seconds": 1200.0},
    "ours_0": {"cpu_seconds": 40.0},
    "two_0": {"cpu_seconds": 42.0},
    "ours_15": {"seconds": 1e6 / 15_000},
    "sensor_15": {"seconds": 1e6 / 10_000},
    "backlog_10000": {"cpu_seconds": 41.0},
    "backlog_100000": {"cpu_seconds": 39.0},
    "bare_run_1000": {"process_cpu_seconds": 3.0},
    "dagster_run_1000": {"process_cpu_seconds": 10.4},
}
MEMORY = (300, 330, 350, 350, 350)


def measured(scenario: str, number: int = 0, **figures: Any) -> Measurement:
    known = {"seconds": 1.0, "cpu_seconds": 1.0, "process_cpu_seconds": 1.0, "messages": 1_000_000} | figures
    return Measurement(scenario, number, **known)


def complaints_of(changed: dict[str, dict[str, Any]], memory: tuple[float, ...] = MEMORY) -> list[str]:
    """The complaints about a benchmark in which every target is met, but for what is changed."""
    runs = [measured(name, **(figures | changed.get(name, {}))) for name, figures in WELL.items()]
    runs += [measured("memory", number, idle_mb=200.0, peak_mb=200 + peak) for number, peak in enumerate(memory)]
    return list(complaints(runs))


def test_targets_that_are_met_are_no_complaint() -> None:
    assert complaints_of({}) == []


@pytest.mark.parametrize(
    ("target", "scenario", "figures"),
    [
        ("cpu", "ours_0", {"cpu_seconds": 45.1}),
        ("against_plain", "plain_0", {"cpu_seconds": 999.0}),
        ("rate", "ours_15", {"seconds": 1e6 / 11_999}),
        ("two_processes", "two_0", {"cpu_seconds": 44.1}),
        ("dagster_run", "dagster_run_1000", {"process_cpu_seconds": 10.6}),
        ("sensor_drain", "sensor_15", {"seconds": 1e6 / 8_999}),
        ("backlog", "backlog_10000", {"cpu_seconds": 43.0}),
        ("backlog", "backlog_100000", {"cpu_seconds": 45.2}),
    ],
)
def test_missed_target_is_named(target: str, scenario: str, figures: dict[str, float]) -> None:
    assert any(each.startswith(f"Target {target} is missed: ") for each in complaints_of({scenario: figures}))


@pytest.mark.parametrize(
    ("target", "memory"),
    [("memory", (401, 401, 401, 401, 401)), ("memory_flat", (250, 290, 300, 300, 310, 321))],
)
def test_memory_that_is_too_much_or_grows_is_named(target: str, memory: tuple[float, ...]) -> None:
    (complaint,) = complaints_of({}, memory)
    assert complaint.startswith(f"Target {target} is missed: ")


def test_ratios_are_of_runs_in_the_same_round() -> None:
    """A machine that is slow for a while makes both slow."""
    runs = [measured("plain_0", 0, cpu_seconds=3000.0), measured("ours_0", 0, cpu_seconds=100.0)]
    runs += [measured("plain_0", 1, cpu_seconds=900.0), measured("ours_0", 1, cpu_seconds=30.0)]
    runs += [measured("plain_0", 2, cpu_seconds=3000.0), measured("ours_0", 2, cpu_seconds=30.0)]
    (target,) = (each for each in TARGETS if each.id == "against_plain")
    assert target.figure(runs) == 30.0


def test_wrong_run_is_named_and_its_speed_counts_for_nothing() -> None:
    runs = [measured("ours_0", cpu_seconds=100.0, problems=["3 logins lost"])]
    assert list(complaints(runs)) == ["A run came to a wrong end: ours_0, run 1: 3 logins lost"]


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (Outcome(190, 190, 190, 0, 10), []),
        (Outcome(189, 189, 189, 0, 10), ["189 rows instead of 190", "1 logins lost"]),
        (Outcome(191, 190, 190, 0, 10), ["191 rows instead of 190", "1 rows twice"]),
        (Outcome(190, 190, 190, 3, 9), ["3 messages not deleted", "9 dead letters instead of 10"]),
    ],
)
def test_lost_doubled_and_left_messages_are_found(found: Outcome, wrong: list[str]) -> None:
    assert problems(found, 190, keeps_promises=True)[: len(wrong) or None] == wrong


def test_benchmark_measures_a_run_that_came_to_its_right_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark(["plain_15"], 1) == 0
    assert "plain_15" in capsys.readouterr().out
