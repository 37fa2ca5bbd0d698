"""The sensor that keeps as many runs going as the queue has batches."""

import math
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg

from login_pipeline.assets import login_queue
from login_pipeline.errors import LoginPipelineError
from login_pipeline.jobs import login_job
from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline.resources.sqs_queue import QueueDepth
from login_pipeline.settings import Settings, read_load_settings, read_settings

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
PHANTOM_AGE = timedelta(hours=1)
"""A run that is active for longer was killed without a word, and must not hold its place for ever."""
FAILURES_TO_BACK_OFF = 3
"""Failed runs in a row after which the sensor pauses."""
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)


@dg.sensor(
    job=login_job,
    minimum_interval_seconds=10,
    default_status=(
        dg.DefaultSensorStatus.RUNNING if read_load_settings().sensor_enabled else dg.DefaultSensorStatus.STOPPED
    ),
    description="Starts a run of login_job for each batch on the queue, up to LOGIN_MAX_CONCURRENT_RUNS at once.",
)
def queue_depth_sensor(context: dg.SensorEvaluationContext, queue: LoginQueueResource) -> dg.SensorResult:
    """Reads the queue's depth, reports it on asset login_queue, and requests runs. It receives nothing."""
    try:
        settings = read_settings()
        depth = queue.depth()
    except LoginPipelineError as error:
        return dg.SensorResult(skip_reason=error.sentence)
    active = _active_runs(context.instance)
    wanted = _wanted_runs(depth, active, settings)
    reason = _pause(_last_runs(context.instance), datetime.now(UTC)) or _skip_reason(depth, wanted, len(active))
    return dg.SensorResult(
        run_requests=[] if reason else [dg.RunRequest(str(uuid.uuid4())) for _ in range(wanted)],
        skip_reason=reason,
        asset_events=[_observation(depth, len(active))],
    )


def _wanted_runs(depth: QueueDepth, active: Sequence[dg.RunRecord], settings: Settings) -> int:
    """One for each batch that can be received and no run is on its way to; started runs have their messages."""
    on_their_way = sum(run.dagster_run.status is not dg.DagsterRunStatus.STARTED for run in active)
    batches = math.ceil(depth.visible / settings.batch_size)
    return min(batches - on_their_way, settings.max_concurrent_runs - len(active))


def _active_runs(instance: dg.DagsterInstance) -> Sequence[dg.RunRecord]:
    young = datetime.now(UTC) - PHANTOM_AGE
    return instance.get_run_records(
        dg.RunsFilter(job_name=login_job.name, statuses=ACTIVE_STATUSES, created_after=young)
    )


def _last_runs(instance: dg.DagsterInstance) -> Sequence[dg.RunRecord]:
    """The newest finished runs, the newest first; enough of them to reach the longest pause."""
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    return instance.get_run_records(dg.RunsFilter(job_name=login_job.name, statuses=finished), limit=10)


def _pause(last_runs: Sequence[dg.RunRecord], now: datetime) -> str | None:
    """Why no run is started yet after failures in a row; each further one doubles the pause."""
    failed = list(takewhile(lambda run: run.dagster_run.status is dg.DagsterRunStatus.FAILURE, last_runs))
    if len(failed) < FAILURES_TO_BACK_OFF:
        return None
    pause = min(FIRST_PAUSE * 2 ** (len(failed) - FAILURES_TO_BACK_OFF), LONGEST_PAUSE)
    ended = datetime.fromtimestamp(failed[0].end_time or 0, UTC)
    if now >= ended + pause:
        return None
    return (
        f"The last {len(failed)} runs failed; the next one is started after {ended + pause:%H:%M:%S} UTC. "
        "The newest failed run says what is wrong"
    )


def _skip_reason(depth: QueueDepth, wanted: int, active: int) -> str | None:
    if not depth.visible:
        return f"The queue has no messages to receive ({depth.in_flight} in flight, {depth.delayed} delayed)"
    if wanted <= 0:
        return f"{active} runs are at work on {depth.visible} messages"
    return None


def _observation(depth: QueueDepth, active: int) -> dg.AssetObservation:
    return dg.AssetObservation(
        login_queue.key,
        metadata={
            "messages": depth.visible,
            "messages_in_flight": depth.in_flight,
            "messages_delayed": depth.delayed,
            "active_runs": active,
        },
    )
