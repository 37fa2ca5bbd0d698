"""Simulates a day with the settings of the environment, and draws it: `make simulate`.

Exit codes: 0; 1 where a message of the model is in no place, or in two.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.autoscaling.day import Day, simulate
from benchmarks.autoscaling.parameters import DAY, HOUR, MINUTE, MODEL, Hours, Traffic
from benchmarks.autoscaling.plot import draw
from login_pipeline.settings import read_settings

PLOT = Path(__file__).parents[2] / "docs" / "simulated-day.svg"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=__doc__)
    parser.add_argument("--seed", type=int, default=MODEL.seed)
    parser.add_argument("--plot", type=Path, default=PLOT)
    given = parser.parse_args()
    model = MODEL._replace(seed=given.seed)
    day = simulate(read_settings(), model)
    sys.stdout.writelines(f"{line}\n" for line in _table(day, model.traffic))
    draw(day, model.traffic, given.plot)
    if day.sent != day.ended:
        sys.stderr.write(f"The model is wrong: {dict(day.sent)} were sent, and {dict(day.ended)} have ended\n")
    return int(day.sent != day.ended)


def _table(day: Day, traffic: Traffic) -> Iterator[str]:
    """As in docs/scaling.md."""
    yield "| | sent | oldest login, s | most on the queue | workers | worker hours | cost | failed runs |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, hours in _parts(traffic):
        seconds = day.during(hours)
        workers = [second.workers for second in seconds]
        figures = (
            name,
            f"{sum(second.arrived for second in seconds):,}",
            f"{max(second.age for second in seconds):,}",
            f"{max(second.waiting for second in seconds):,}",
            f"{min(workers)}-{max(workers)}",
            f"{sum(workers) / HOUR:.1f}",
            f"${seconds[-1].cost - seconds[0].cost:.2f}",
            f"{day.failed(hours)}",
        )
        yield f"| {' | '.join(figures)} |"


def _parts(traffic: Traffic) -> Iterator[tuple[str, Hours]]:
    """What befalls the day, what follows each of it, and the whole day."""
    end = 0
    for name, hours in traffic.befallen.items():
        yield f"until {_clock(hours.begin)}", Hours(end, hours.begin)
        yield f"{name}, until {_clock(hours.end)}", hours
        end = hours.end
    yield "until 24:00", Hours(end, DAY)
    yield "the day", Hours(0, DAY)


def _clock(second: int) -> str:
    return f"{second // HOUR:02}:{second % HOUR // MINUTE:02}"


if __name__ == "__main__":
    sys.exit(main())
