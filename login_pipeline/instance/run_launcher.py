"""Launches each run as a Celery task, on whichever host has a worker with a free place; a dagster.yaml names it.

Dagster's own launcher asks Celery for the state of the task, which says nothing of a worker that is gone. So a run's
process holds a lease in Redis for as long as it lives (worker.py), and a run that has started and has none is lost.
"""

import time
import warnings
from typing import Any

import redis
from celery.exceptions import DuplicateTaskNameWarning
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from login_pipeline.instance import HOST_TAG
from login_pipeline.instance.celery_config import app_arguments, lease, redis_client

# How long a lease may be missing: Redis may have lost its data, and each process renews its lease soon.
MISSING_SECONDS = 10.0


class LeasedRunLauncher(CeleryRunLauncher):
    """Dagster's launcher for Celery, which notices lost runs, and has a terminated one release its messages."""

    def __init__(self, *, broker: str, **config: Any) -> None:
        super().__init__(**{**config, **app_arguments(broker)})
        # Dagster registers its task anew for each run, and Celery warns of that.
        warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)
        self._redis = redis_client(broker)
        # When the lease of a run was first missed, by run id.
        self._missed: dict[str, float] = {}

    @property
    def supports_resume_run(self) -> bool:
        """What a run had received was in its memory."""
        return False

    def terminate(self, run_id: str) -> bool:
        """The run's process sees by its status that it is to end."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status is not DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Dagster's run monitoring asks it of each run that has started."""
        running = CheckRunHealthResult(WorkerStatus.RUNNING)
        # The daemon may be lost before it adds the first; a run without both works elsewhere: `login-pipeline drain`.
        if not {DAGSTER_CELERY_TASK_ID_TAG, HOST_TAG} & run.tags.keys():
            return running
        try:
            valid = self._redis.exists(lease(run.run_id))
        except redis.RedisError:  # nothing is known of any run
            self._missed.clear()
            return running
        now = time.monotonic()
        if valid:
            self._missed.pop(run.run_id, None)
        elif now - self._missed.setdefault(run.run_id, now) > MISSING_SECONDS:
            del self._missed[run.run_id]
            return CheckRunHealthResult(WorkerStatus.FAILED, "The run's process or its host is gone")
        return running

    def get_run_worker_debug_info(self, run: DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Celery knows nothing more."""
        return None
