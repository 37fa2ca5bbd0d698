"""The result on the terminal: what was measured, the targets, and what is wrong in a sentence each."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import Figure, Measurement, middle
from benchmarks.targets import TARGETS, Target

WIDTH = 150
COLUMNS: dict[str, Figure] = {
    "messages/s": lambda each: each.messages_per_second,
    "client CPU\nus/message": lambda each: each.cpu_us,
    "SQS server\nus/message": lambda each: each.server_cpu_seconds / each.messages * 1e6,
    "PostgreSQL\nus/message": lambda each: each.database_cpu_seconds / each.messages * 1e6,
    "whole process\nCPU s": lambda each: each.process_cpu_seconds,
    "memory\nMB over idle": lambda each: each.over_idle_mb,
}


def show(measurements: Sequence[Measurement]) -> None:
    """Prints the medians of each scenario, and each target."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(_scenarios(measurements))
    console.print(_targets(measurements))


def complaints(measurements: Sequence[Measurement]) -> Iterator[str]:
    """A sentence for each run that came to a wrong end, and for each target that is missed."""
    for each in measurements:
        if each.problems:
            yield f"A run came to a wrong end: {each.scenario}, run {each.round + 1}: {', '.join(each.problems)}"
    for target in TARGETS:
        figure = target.figure(measurements)
        if figure is not None and not target.is_met(figure):
            yield f"Target {target.id} is missed: {target.says} must be {_limit(target)}, and is {figure:,.4g}"


def _scenarios(measurements: Sequence[Measurement]) -> Table:
    table = Table(title="Medians of interleaved rounds", box=None, header_style="bold")
    for heading in ("scenario", "messages", *COLUMNS):
        table.add_column(heading, justify="left" if heading == "scenario" else "right", no_wrap=heading == "scenario")
    sizes = {each.scenario: each.messages for each in measurements}
    for name, messages in sizes.items():
        table.add_row(name, f"{messages:,}", *(_short(middle(measurements, name, each)) for each in COLUMNS.values()))
    return table


def _targets(measurements: Sequence[Measurement]) -> Table:
    table = Table(title="\nTargets", box=None, header_style="bold")
    for heading in ("", "target", "", "limit", "measured"):
        table.add_column(heading)
    for target in TARGETS:
        figure = target.figure(measurements)
        verdict = "not measured" if figure is None else "met" if target.is_met(figure) else "MISSED"
        table.add_row(verdict, target.id, target.says, _limit(target), _short(figure))
    return table


def _limit(target: Target) -> str:
    return f"at {'least' if target.at_least else 'most'} {target.limit:,g} {target.unit}"


def _short(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
