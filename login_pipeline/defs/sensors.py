"""The sensor that keeps as many runs going as the queue has batches."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import dagster as dg

from login_pipeline.defs.assets import login_queue
from login_pipeline.defs.decision import FAILURES_TO_BACK_OFF, Runs, decide, remembered
from login_pipeline.defs.facts import active_runs, newest_failures
from login_pipeline.defs.jobs import LOGIN_JOB
from login_pipeline.defs.prefix import runs_of
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.errors import LoginPipelineError
from login_pipeline.settings import Settings, read_load_settings, read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline.sqs.transport.client import ClientOptions

# At every look of Dagster's daemon, which comes every 5 seconds; 5 would skip every other look.
#
# Source: dagster/_daemon/sensor.py, MIN_INTERVAL_LOOP_TIME. A run lasts seconds; a place that is free is to be filled.
TICK_SECONDS = 1
# To read the depth, and seconds for each response: a tick has 60, and SQS may be silent.
ATTEMPTS, ANSWER_SECONDS = 2, 15


def queue_depth_sensor(prefix: Sequence[str] = ()) -> dg.SensorDefinition:
    """The sensor of the login queue, whose asset has this prefix."""
    queue = login_queue.key.with_prefix(prefix)

    @dg.sensor(
        job_name=LOGIN_JOB,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=(
            dg.DefaultSensorStatus.RUNNING if read_load_settings().sensor_enabled else dg.DefaultSensorStatus.STOPPED
        ),
        description="Starts a run of login_job for each batch on the queue, up to LOGIN_MAX_CONCURRENT_RUNS at once, "
        "and one an hour while it is empty. Ticks at every look of the daemon, which is every 5 seconds.",
    )
    def queue_depth_sensor(context: dg.SensorEvaluationContext, login_sqs: LoginQueueResource) -> dg.SensorResult:
        """Reads the queue's depth, reports it on asset login_queue, and requests runs. It receives nothing."""
        try:
            settings = read_settings()
            depth = _kept(settings, login_sqs.client_options, frozenset(os.environ.items())).login_queue.depth()
        except LoginPipelineError as error:
            _kept.cache_clear()  # credentials in a file may have been replaced
            return dg.SensorResult(skip_reason=error.sentence)
        runs, before = _runs(context.instance, settings, prefix), remembered(context.cursor)
        wanted, reason, cursor = decide(depth, runs, before, settings, datetime.now(UTC))
        # Keyed by the newest run: never used again, and the same for two daemons that look at the same moment.
        requests = [dg.RunRequest(f"after {runs.newest or 'none'}, {number}") for number in range(wanted)]
        observations = [] if cursor.observed == before.observed else [_observation(queue, depth, runs.active)]
        return dg.SensorResult(
            run_requests=requests, skip_reason=reason, asset_events=observations, cursor=cursor.model_dump_json()
        )

    return queue_depth_sensor


@lru_cache(maxsize=1)
def _kept(settings: Settings, options: ClientOptions, environment: frozenset[tuple[str, str]]) -> LoginQueues:
    """The queues, kept from tick to tick: to make a client costs a hundred times what a call does.

    `environment` has what the SDK reads on its own.
    """
    return LoginQueues(settings, options._replace(max_attempts=ATTEMPTS, read_timeout=ANSWER_SECONDS))


def _runs(instance: dg.DagsterInstance, settings: Settings, prefix: Sequence[str]) -> Runs:
    active = active_runs(instance, timedelta(seconds=settings.visibility_timeout), prefix)
    at_work = sum(run.dagster_run.status is dg.DagsterRunStatus.STARTED for run in active)
    newest = instance.get_runs(runs_of(LOGIN_JOB, prefix), limit=1)
    failures = newest_failures(instance, FAILURES_TO_BACK_OFF, prefix)
    return Runs(
        newest=newest[0].run_id if newest else None,
        on_their_way=len(active) - at_work,
        at_work=at_work,
        failing=failures[0] if len(failures) == FAILURES_TO_BACK_OFF else None,
        limited=_limited(instance, settings.max_concurrent_runs),
    )


def _limited(instance: dg.DagsterInstance, max_concurrent_runs: int) -> bool:
    """The queue of an instance that others use, too, may let more runs work at once."""
    coordinator = instance.run_coordinator
    if not isinstance(coordinator, dg.QueuedRunCoordinator):
        return False
    return 0 <= coordinator.get_run_queue_config().max_concurrent_runs <= max_concurrent_runs


def _observation(queue: dg.AssetKey, depth: QueueDepth, active: int) -> dg.AssetObservation:
    return dg.AssetObservation(
        queue,
        metadata={
            "messages": depth.visible,
            "messages_in_flight": depth.in_flight,
            "messages_delayed": depth.delayed,
            "active_runs": active,
        },
    )
