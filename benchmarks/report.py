"""The result on the terminal: a table of what was measured, a table of the targets, and what is wrong in a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 150
COLUMNS = {
    "messages": "messages",
    "messages_per_second": "messages/s",
    "client_cpu_us": "client CPU\nus/message",
    "server_cpu_us": "SQS server\nus/message",
    "database_cpu_us": "PostgreSQL\nus/message",
    "over_idle_mb": "memory\nMB over idle",
}


def show(result: Mapping[str, Any]) -> None:
    """Prints all of it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(_scenarios(result["scenarios"], result["rounds"]))
    console.print(_targets(result["targets"]))
    for sentence in _beside(result["scenarios"]):
        console.print(sentence, soft_wrap=True)
    for sentence in result["left_out"]:
        console.print(f"Left out: {sentence}", soft_wrap=True)


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What is wrong, if anything: each run that failed, each target that is missed."""
    failed = [f"A run came to a wrong end: {sentence}" for sentence in result["failed_runs"]]
    missed = [
        f"Target {target['id']} is missed: {target['says']} must be {_limit(target)}, and is {_measured(target)}"
        for target in result["targets"]
        if target["met"] is False
    ]
    return failed + missed


def _scenarios(scenarios: Mapping[str, Any], rounds: int) -> Table:
    table = Table(
        title=f"Medians of {rounds} interleaved rounds, and half the way from the least to the most",
        box=None,
        header_style="bold",
    )
    table.add_column("scenario", no_wrap=True)
    for heading in (*COLUMNS.values(), "CPU, times\nless than plain", "messages/s,\ntimes plain"):
        table.add_column(heading, justify="right")
    for name, figures in scenarios.items():
        ratios = _ratios(name, scenarios)
        table.add_row(name, *(_figure(figures.get(column)) for column in COLUMNS), *ratios)
    return table


def _beside(scenarios: Mapping[str, Any]) -> list[str]:
    """What the drain by the sensor comes to without the start of the daemon, which is a part of it."""
    drain = scenarios.get("sensor_15", {})
    if "daemon_start_seconds" not in drain:
        return []
    start = drain["daemon_start_seconds"]["median"]
    rate = drain["messages"] / (drain["messages"] / drain["messages_per_second"]["median"] - start)
    return [f"sensor_15: the daemon took {start:.1f} s to its first tick; without these, {rate:,.0f} messages/s"]


def _ratios(name: str, scenarios: Mapping[str, Any]) -> tuple[str, str]:
    """Against the plain script at the same latency."""
    contender, _, latency = name.partition("_")
    plain = scenarios.get(f"plain_{latency}" if latency in ("0", "15") else "plain")
    if contender not in ("plain", "overlapped", "ours", "two") or not plain or "client_cpu_us" not in scenarios[name]:
        return "", ""
    cpu = plain["client_cpu_us"]["median"] / scenarios[name]["client_cpu_us"]["median"]
    rate = scenarios[name]["messages_per_second"]["median"] / plain["messages_per_second"]["median"]
    return f"{cpu:.1f}", f"{rate:.1f}"


def _targets(targets: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="\nTargets", box=None, header_style="bold")
    for heading in ("", "target", "", "limit", "measured"):
        table.add_column(heading)
    for target in targets:
        table.add_row(_verdict(target["met"]), target["id"], target["says"], _limit(target), _measured(target))
    return table


def _verdict(met: bool | None) -> Text:
    if met is None:
        return Text("not measured", style="dim")
    return Text("met", style="green") if met else Text("MISSED", style="bold red")


def _limit(target: Mapping[str, Any]) -> str:
    bound = "at least" if "at least" in target else "at most"
    return f"{bound} {target[bound]:,g} {target['unit']}"


def _measured(target: Mapping[str, Any]) -> str:
    figures = target["measured"]
    if list(figures) == ["median"]:
        return f"{figures['median']:,.4g}" if figures["median"] < 1000 else f"{figures['median']:,.0f}"
    return ", ".join(f"{figure:,.3g} ({case})" for case, figure in figures.items())


def _figure(figure: Mapping[str, float] | int | None) -> str:
    if figure is None:
        return ""
    if isinstance(figure, int):
        return f"{figure:,}"
    spread = (figure["most"] - figure["least"]) / 2 / figure["median"] if figure["median"] else 0
    return f"{_short(figure['median'])} ±{spread:.0%}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
