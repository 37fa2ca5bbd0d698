"""Dagster's queue of runs, with no more runs of login_job at once than LOGIN_MAX_CONCURRENT_RUNS.

A dagster.yaml names it. The sensor ticks every five seconds, and a run of a full batch lasts about as long: so it asks
for the next runs before a place is free, and they wait here, where the daemon looks every second.
"""

import sys
from multiprocessing import parent_process
from pathlib import Path

import dagster as dg
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator, RunQueueConfig

from login_pipeline.errors import ConfigurationError
from login_pipeline.instance import run_launcher as forked_runs
from login_pipeline.settings import read_settings

# The tag of the runs that the limit is for.
LIMITED = {"limit": "LOGIN_MAX_CONCURRENT_RUNS"}


class LoginRunQueue(QueuedRunCoordinator):
    """As its dagster.yaml configures it, and the limit."""

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """In the daemon, also has runs prepared while it still starts its code server."""
        super().register_instance(instance)
        if _is_the_daemon() and isinstance(instance.run_launcher, forked_runs.ForkedRunLauncher):
            forked_runs.prepare()

    def get_run_queue_config(self) -> RunQueueConfig:
        """Read anew at each look. With wrong settings there is no limit: the sensor asks for no run, and says why."""
        config = super().get_run_queue_config()
        try:
            at_once = read_settings().max_concurrent_runs
        except ConfigurationError:
            return config
        limits = [{"key": key, "value": value, "limit": at_once} for key, value in LIMITED.items()]
        return config._replace(tag_concurrency_limits=[*config.tag_concurrency_limits, *limits])


def places(instance: dg.DagsterInstance, at_once: int) -> int:
    """How many runs may be on their way or at work: twice as many where the queue itself keeps to the limit."""
    return 2 * at_once if isinstance(instance.run_coordinator, LoginRunQueue) else at_once


def _is_the_daemon() -> bool:
    """`dagster-daemon run`, or `python -m dagster._daemon run`, as `dagster dev` starts it; not its forks."""
    program = Path(sys.argv[0])
    of_the_daemon = program.name == "dagster-daemon" or program.parent.name == "_daemon"
    return of_the_daemon and sys.argv[1:2] == ["run"] and parent_process() is None
