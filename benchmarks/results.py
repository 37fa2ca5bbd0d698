"""The result of a benchmark as JSON: where it ran, each target, each scenario's medians, and every single run."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

from benchmarks.judge import Verdict, failures
from benchmarks.measurement import Figure, Measurement, of_scenario, values
from benchmarks.plan import Plan
from login_pipeline.errors import ConfigurationError
from login_pipeline.settings import Settings, variable

FOLDER = Path(__file__).parent / "results"
REFERENCE = FOLDER / "reference.json"
"""The one that is kept: docs/performance.md's figures are its."""
SHOWN_SETTINGS = ("batch_size", "max_concurrent_runs", "long_poll", "masking_method", "sqs_client")

FIGURES: dict[str, Figure] = {
    "messages_per_second": lambda each: each.messages_per_second,
    "client_cpu_us": lambda each: each.cpu_us,
    "server_cpu_us": lambda each: each.server_cpu_us,
    "database_cpu_us": lambda each: each.database_cpu_us,
    "process_cpu_seconds": lambda each: each.process_cpu_seconds,
    "peak_mb": lambda each: each.peak_mb,
    "over_idle_mb": lambda each: each.over_idle_mb,
    "daemon_start_seconds": lambda each: each.figures.get("daemon_start_seconds"),
}
"""Of a scenario; CPU in microseconds a message."""


def result(
    measurements: Sequence[Measurement], verdicts: Sequence[Verdict], plan: Plan, left_out: Sequence[str]
) -> dict[str, Any]:
    """Everything as JSON has it."""
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "settings": _settings(),
        "rounds": plan.rounds,
        "backlogs": dict(sorted(plan.backlogs.items())),
        "targets": [_target(verdict) for verdict in verdicts],
        "left_out": list(left_out),
        "failed_runs": failures(measurements),
        "scenarios": {name: _scenario(measurements, name) for name in names(measurements)},
        "runs": [asdict(each) for each in measurements],
    }


def require_writable(file: Path) -> None:
    """Raises ConfigurationError where `write` could not write there: before an hour of measuring, not after it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise ConfigurationError(f"--output {file} cannot be written ({error.strerror}); name another file") from None


def write(what: dict[str, Any], file: Path) -> None:
    """Writes it, all or nothing."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(file)


def names(measurements: Sequence[Measurement]) -> list[str]:
    """The scenarios, in the order in which they were run."""
    return list(dict.fromkeys(each.scenario for each in measurements))


def _target(verdict: Verdict) -> dict[str, Any]:
    target = verdict.target
    return {
        "id": target.id,
        "says": target.says,
        "at least" if target.at_least else "at most": target.limit,
        "unit": target.unit,
        "measured": {case: round(figure, 3) for case, figure in verdict.measured.items()},
        "met": verdict.met,
    }


def _scenario(measurements: Sequence[Measurement], name: str) -> dict[str, Any]:
    """Each figure's median over the rounds, and its least and its most."""
    right = [each for each in of_scenario(measurements, name) if not each.problems]
    return {
        "messages": of_scenario(measurements, name)[0].messages,
        "runs": len(right),
        **{
            label: {"median": round(median(found), 3), "least": min(found), "most": max(found)}
            for label, figure in FIGURES.items()
            if (found := [round(value, 3) for value in values(right, name, figure)])
        },
    }


def _settings() -> dict[str, Any]:
    """The pipeline's defaults, with which it ran where a scenario names no others; none of them is a secret."""
    settings = Settings(_env_file=None)
    return {variable(name): getattr(settings, name) for name in SHOWN_SETTINGS}
