"""Dagster's queue of runs, with no more runs of login_job at once than LOGIN_MAX_CONCURRENT_RUNS.

A dagster.yaml names it. The sensor ticks every five seconds, and a run of a full batch lasts about as long: so it asks
for the next runs before a place is free, and they wait here, where the daemon looks every second.
"""

import dagster as dg
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator, RunQueueConfig

from login_pipeline.errors import ConfigurationError
from login_pipeline.settings import read_settings

LIMITED = {"login_pipeline/limit": "LOGIN_MAX_CONCURRENT_RUNS"}
"""The tag of the runs that the limit is for."""


class LoginRunQueue(QueuedRunCoordinator):
    """As its dagster.yaml configures it, and the limit."""

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
    """How many runs may be on their way or at work: twice as many where the queue keeps to the limit by itself."""
    return 2 * at_once if isinstance(instance.run_coordinator, LoginRunQueue) else at_once
