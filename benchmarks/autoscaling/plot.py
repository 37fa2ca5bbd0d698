"""Draws a simulated day."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.autoscaling.day import Day, Second
from benchmarks.autoscaling.parameters import DAY, HOUR, MINUTE, Traffic


def draw(day: Day, traffic: Traffic, file: Path) -> None:
    """Messages, the oldest login's age, workers, and cost, of the maximum of each minute, as SVG."""
    # The same day gives the same file; text stays text.
    with mpl.rc_context({"svg.hashsalt": "simulated day", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(10, 8), layout="constrained")
        rows = figure.subplots(4, 1, sharex=True)
        hours = np.arange(DAY // MINUTE) * MINUTE / HOUR

        def line(row: int, figure_of: Callable[[Second], float], label: str, **style: str) -> None:
            rows[row].plot(hours, _by_minute(day, figure_of), label=label, linewidth=1, **style)

        line(0, lambda second: second.arrived, "sent a second")
        line(0, lambda second: second.waiting, "on the queue")
        line(1, lambda second: second.age / MINUTE, "age of the oldest login, minutes")
        line(1, lambda second: second.own_age / MINUTE, "without the time that the database was away", linestyle="--")
        line(2, lambda second: second.workers, "workers", drawstyle="steps-post")
        line(3, lambda second: second.cost, "cost of workers and SQS since midnight, US dollars")
        for row, scale in zip(rows, ("symlog", "symlog", "linear", "linear"), strict=True):
            row.set_yscale(scale)
            row.set_ylim(bottom=0)
            row.grid(alpha=0.3)
            row.legend(loc="upper left", fontsize=8)
            for hours_of in traffic.befallen.values():
                row.axvspan(hours_of.begin / HOUR, hours_of.end / HOUR, color="grey", alpha=0.2, linewidth=0)
        for name, hours_of in traffic.befallen.items():
            rows[0].text(hours_of.begin / HOUR, 1.02, name, transform=rows[0].get_xaxis_transform(), fontsize=8)
        rows[3].set_xticks(range(0, 25, 2))
        rows[3].set_xlim(0, 24)
        rows[3].set_xlabel("hour of the day")
        figure.savefig(file, format="svg", metadata={"Date": None})


def _by_minute(day: Day, figure_of: Callable[[Second], float]) -> list[float]:
    return [max(map(figure_of, day.seconds[first : first + MINUTE])) for first in range(0, DAY, MINUTE)]
