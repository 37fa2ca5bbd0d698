"""Draws a result: `python -m benchmarks.plot [RESULT.json] [PLOT.svg]`.

Okabe and Ito's colours, which can be told apart by everybody, and a hatch beside each.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.results import REFERENCE

CONTENDERS = {
    "plain": ("plain script", "#999999", ""),
    "overlapped": ("overlapped boto3", "#56B4E9", "//"),
    "ours": ("login-pipeline", "#D55E00", ""),
}
LATENCIES = {"_0": "no latency", "_15": "15 ms a call", "": "given server"}
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and found by a search
    "svg.hashsalt": "login-pipeline",  # the same ids each time
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(result: Mapping[str, Any], file: Path) -> None:
    """Three panels: messages a second, CPU a message, and CPU a message over the backlog."""
    scenarios = result["scenarios"]
    with plt.rc_context(STYLE):
        figure, (rates, costs, backlogs) = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
        _bars(rates, scenarios, "messages_per_second", "messages a second (log scale)")
        _bars(costs, scenarios, "client_cpu_us", "client CPU a message, µs (log scale)")
        _backlogs(backlogs, {int(size): scenarios.get(name, {}) for size, name in result["backlogs"].items()})
        handles, labels = rates.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None, "Title": "Speed of login-pipeline, and of two other ways"})
        plt.close(figure)


def _bars(axes: Axes, scenarios: Mapping[str, Any], figure: str, label: str) -> None:
    """A bar a contender and latency, with its least and its most as a whisker and its median as a number."""
    latencies = [suffix for suffix in LATENCIES if f"ours{suffix}" in scenarios]
    for place, (contender, (name, colour, hatch)) in enumerate(CONTENDERS.items()):
        found = [scenarios.get(f"{contender}{suffix}", {}).get(figure) for suffix in latencies]
        at = [number + (place - 1) * 0.28 for number, each in enumerate(found) if each]
        known = [each for each in found if each]
        medians = [each["median"] for each in known]
        whiskers = _whiskers(known)
        bars = axes.bar(at, medians, 0.26, label=name, color=colour, hatch=hatch, edgecolor="white", yerr=whiskers)
        axes.bar_label(bars, labels=[_short(median) for median in medians], padding=2, fontsize=8)
    if latencies:  # a log scale of nothing cannot be drawn
        axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_xticks(range(len(latencies)), [LATENCIES[suffix] for suffix in latencies])
    axes.set_ylabel(label)


def _backlogs(axes: Axes, scenarios: Mapping[int, Any]) -> None:
    """Flat, where the cost of a message does not depend on how many wait with it."""
    _, colour, _ = CONTENDERS["ours"]
    found = {size: figures["client_cpu_us"] for size, figures in scenarios.items() if "client_cpu_us" in figures}
    sizes = sorted(found)
    medians = [found[size]["median"] for size in sizes]
    whiskers = _whiskers([found[size] for size in sizes])
    axes.errorbar(sizes, medians, yerr=whiskers, color=colour, marker="o", capsize=3)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0, top=max(medians, default=1) * 1.3)
    axes.set_xlabel("messages on the queue")
    axes.set_ylabel("client CPU a message, µs")


def _whiskers(figures: Sequence[Mapping[str, float]]) -> list[list[float]]:
    """From the median down to the least, and up to the most."""
    return [
        [each["median"] - each["least"] for each in figures],
        [each["most"] - each["median"] for each in figures],
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def main() -> None:
    """Draws the result that is kept, or the one that is named."""
    result, plot = [*map(Path, sys.argv[1:]), *(REFERENCE, Path("docs/performance.svg"))[len(sys.argv) - 1 :]]
    draw(json.loads(result.read_text(encoding="utf-8")), plot)


if __name__ == "__main__":
    main()
