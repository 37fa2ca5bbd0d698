"""The sensor that keeps as many runs going as the queue has batches."""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ValidationError

from login_pipeline.assets import login_queue
from login_pipeline.errors import LoginPipelineError
from login_pipeline.jobs import login_job
from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline.resources.sqs_queue import QueueDepth
from login_pipeline.run_queue import places
from login_pipeline.settings import read_load_settings, read_settings

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
TICK_SECONDS = 1
"""At every look of Dagster's daemon, which comes every 5 seconds; 5 itself would miss every other by a hair.

Source: dagster/_daemon/sensor.py, MIN_INTERVAL_LOOP_TIME. A run lasts seconds; a place that is free is to be filled.
"""
ATTEMPTS, ANSWER_SECONDS = 2, 15
"""To read the depth, and for each answer: a tick has 60 seconds, and SQS may be silent."""
FAILURES_TO_BACK_OFF = 3
"""Failed runs in a row after which the sensor pauses."""
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)


class _Failing(BaseModel):
    """What the sensor's cursor holds: the newest of failed runs in a row, and when the sensor first saw it."""

    run_id: str
    seen: AwareDatetime
    failures: int


@dg.sensor(
    job=login_job,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=(
        dg.DefaultSensorStatus.RUNNING if read_load_settings().sensor_enabled else dg.DefaultSensorStatus.STOPPED
    ),
    description="Starts a run of login_job for each batch on the queue, up to LOGIN_MAX_CONCURRENT_RUNS at once.",
)
def queue_depth_sensor(context: dg.SensorEvaluationContext, queue: LoginQueueResource) -> dg.SensorResult:
    """Reads the queue's depth, reports it on asset login_queue, and requests runs. It receives nothing."""
    try:
        settings = read_settings()
        depth = _kept(queue.model_dump_json(), frozenset(os.environ.items())).depth()
    except LoginPipelineError as error:
        _kept.cache_clear()  # credentials in a file may have been replaced
        return dg.SensorResult(skip_reason=error.sentence)
    active = _active_runs(context.instance, timedelta(seconds=settings.visibility_timeout))
    wanted = _wanted_runs(depth, active, settings.batch_size, places(context.instance, settings.max_concurrent_runs))
    failing = _failing_since(_last_runs(context.instance), context.cursor, datetime.now(UTC))
    reason = _pause(failing, datetime.now(UTC)) or _skip_reason(depth, wanted, len(active))
    return dg.SensorResult(
        run_requests=[] if reason else [dg.RunRequest(key) for key in _run_keys(context.instance, wanted)],
        skip_reason=reason,
        asset_events=[_observation(depth, len(active))],
        cursor=failing.model_dump_json() if failing else "",
    )


@lru_cache(maxsize=1)
def _kept(config: str, environment: frozenset[tuple[str, str]]) -> LoginQueueResource:
    """The queue as a tick asks for its depth, kept from tick to tick: a client costs a hundred times what a call does.

    Everything that it is made from is its configuration and the environment.
    """
    queue = LoginQueueResource.model_validate_json(config)
    return queue.model_copy(update={"max_attempts": ATTEMPTS, "read_timeout": ANSWER_SECONDS})


def _run_keys(instance: dg.DagsterInstance, wanted: int) -> list[str]:
    """Keys after the newest run, so never used again, and the same for two daemons that look at the same moment."""
    newest = instance.get_runs(dg.RunsFilter(job_name=login_job.name), limit=1)
    after = newest[0].run_id if newest else "none"
    return [f"after {after}, {number}" for number in range(wanted)]


def _wanted_runs(depth: QueueDepth, active: Sequence[dg.RunRecord], batch_size: int, places: int) -> int:
    """One for each batch that can be received and no run is on its way to; started runs have their messages."""
    on_their_way = sum(run.dagster_run.status is not dg.DagsterRunStatus.STARTED for run in active)
    batches = math.ceil(depth.visible / batch_size)
    return min(batches - on_their_way, places - len(active))


def _active_runs(instance: dg.DagsterInstance, longest: timedelta) -> Sequence[dg.RunRecord]:
    """The runs at work and on their way.

    A run whose state did not change for longer than a run may last was lost, with its host say, and does not count. A
    run that waits in Dagster's queue cannot be lost.
    """
    changed_after = datetime.now(UTC) - longest
    active = instance.get_run_records(dg.RunsFilter(job_name=login_job.name, statuses=ACTIVE_STATUSES))
    return [
        run
        for run in active
        if run.dagster_run.status is dg.DagsterRunStatus.QUEUED or run.update_timestamp > changed_after
    ]


def _last_runs(instance: dg.DagsterInstance) -> Sequence[dg.RunRecord]:
    """The newest finished runs, the newest first; enough of them to reach the longest pause."""
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    return instance.get_run_records(dg.RunsFilter(job_name=login_job.name, statuses=finished), limit=10)


def _failing_since(last_runs: Sequence[dg.RunRecord], cursor: str | None, now: datetime) -> _Failing | None:
    """The failures in a row, and when this sensor first saw the newest: by its own clock, not by the runs' hosts'."""
    failed = list(takewhile(lambda run: run.dagster_run.status is dg.DagsterRunStatus.FAILURE, last_runs))
    if len(failed) < FAILURES_TO_BACK_OFF:
        return None
    newest = failed[0].dagster_run.run_id
    before = _remembered(cursor)
    seen = before.seen if before and before.run_id == newest and before.seen <= now else now
    return _Failing(run_id=newest, seen=seen, failures=len(failed))


def _remembered(cursor: str | None) -> _Failing | None:
    try:
        return _Failing.model_validate_json(cursor or "")
    except ValidationError:  # none yet, or somebody else's: a person can write the cursor in the UI
        return None


def _pause(failing: _Failing | None, now: datetime) -> str | None:
    """Why no run is started yet after failures in a row; each further one doubles the pause."""
    if failing is None:
        return None
    pause = min(FIRST_PAUSE * 2 ** (failing.failures - FAILURES_TO_BACK_OFF), LONGEST_PAUSE)
    if now >= failing.seen + pause:
        return None
    return (
        f"The last {failing.failures} runs failed; the next one is started after {failing.seen + pause:%H:%M:%S} UTC. "
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
