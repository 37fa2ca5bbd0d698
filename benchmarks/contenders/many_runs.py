"""Runs of login_job one after another in one process: `python -m benchmarks.contenders.many_runs --wait`.

Each run is given its queue and its database as a line of JSON, and says what its memory came to.
"""

import json
import os
import sys

from benchmarks.contenders.meter import Meter
from login_pipeline.cli.runs import dagster_instance, run
from login_pipeline.errors import RunError


def main() -> None:
    """A run for each line on stdin: the settings that it has."""
    with dagster_instance() as instance:
        print("ready", flush=True)
        for line in sys.stdin:
            os.environ.update(json.loads(line))
            meter = Meter(wait=False)
            finished = run("login_job", instance)
            if not finished.passed:
                raise RunError(f"a run failed: {finished.failures}")
            meter.progressed()
            meter.tell()


if __name__ == "__main__":
    main()
