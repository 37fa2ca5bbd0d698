"""The sensor that keeps as many runs going as the queue has batches."""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ValidationError

from login_pipeline.defs.assets import login_queue
from login_pipeline.defs.jobs import login_job
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.errors import LoginPipelineError
from login_pipeline.settings import Settings, read_load_settings, read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline.sqs.transport.client import ClientOptions

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# At every look of Dagster's daemon, which comes every 5 seconds; 5 would skip every other look.
#
# Source: dagster/_daemon/sensor.py, MIN_INTERVAL_LOOP_TIME. A run lasts seconds; a place that is free is to be filled.
TICK_SECONDS = 1
# To read the depth, and seconds for each response: a tick has 60, and SQS may be silent.
ATTEMPTS, ANSWER_SECONDS = 2, 15
# Failed runs in a row after which the sensor pauses.
FAILURES_TO_BACK_OFF = 3
FIRST_PAUSE = timedelta(seconds=30)
MAX_PAUSE = timedelta(minutes=15)


# The depth is observed when it changed, and not at every tick: Dagster would keep 17,280 observations a day.
OBSERVATION_INTERVAL = timedelta(minutes=1)


class _Newest(BaseModel):
    """The newest run, and when the sensor first saw it: by its own clock, not by the database's or a run's host's."""

    run_id: str
    seen: AwareDatetime


class _Failing(_Newest):
    """The newest of failed runs in a row."""

    failures: int


class _Observed(BaseModel):
    """The depth that was observed last."""

    depth: QueueDepth
    at: AwareDatetime


class _Cursor(BaseModel):
    """What the sensor remembers from tick to tick. All times are of its own clock."""

    newest: _Newest | None = None
    failing: _Failing | None = None
    observed: _Observed | None = None


@dg.sensor(
    job=login_job,
    minimum_interval_seconds=TICK_SECONDS,
    default_status=(
        dg.DefaultSensorStatus.RUNNING if read_load_settings().sensor_enabled else dg.DefaultSensorStatus.STOPPED
    ),
    description="Starts a run of login_job for each batch on the queue, up to LOGIN_MAX_CONCURRENT_RUNS at once. "
    "Ticks at every look of the daemon, which is every 5 seconds.",
)
def queue_depth_sensor(context: dg.SensorEvaluationContext, sqs: LoginQueueResource) -> dg.SensorResult:
    """Reads the queue's depth, reports it on asset login_queue, and requests runs. It receives nothing."""
    try:
        settings = read_settings()
        depth = _kept(settings, sqs.client_options, frozenset(os.environ.items())).login_queue.depth()
    except LoginPipelineError as error:
        _kept.cache_clear()  # credentials in a file may have been replaced
        return dg.SensorResult(skip_reason=error.sentence)
    now = datetime.now(UTC)
    active = _active_runs(context.instance, timedelta(seconds=settings.visibility_timeout))
    before = _remembered(context.cursor)
    cursor = _Cursor(
        newest=_newest_since(context.instance, before.newest, now),
        failing=_failing_since(_last_runs(context.instance), before.failing, now),
        observed=_observed(depth, before.observed, now),
    )
    waits_until = _waits_until(cursor.newest, timedelta(seconds=settings.run_interval), now)
    full, all_of_it = depth.visible // settings.batch_size, math.ceil(depth.visible / settings.batch_size)
    batches = full if waits_until else all_of_it
    wanted = _wanted_runs(batches, active, _places(context.instance, settings.max_concurrent_runs))
    reason = _pause(cursor.failing, now) or _skip_reason(depth, batches, wanted, len(active), waits_until)
    return dg.SensorResult(
        run_requests=[] if reason else _requests(cursor.newest, wanted),
        skip_reason=reason,
        asset_events=[] if cursor.observed == before.observed else [_observation(depth, len(active))],
        cursor=cursor.model_dump_json(),
    )


@lru_cache(maxsize=1)
def _kept(settings: Settings, options: ClientOptions, environment: frozenset[tuple[str, str]]) -> LoginQueues:
    """The queues, kept from tick to tick: to make a client costs a hundred times what a call does.

    `environment` has what the SDK reads on its own.
    """
    return LoginQueues(settings, options._replace(max_attempts=ATTEMPTS, read_timeout=ANSWER_SECONDS))


def _newest_since(instance: dg.DagsterInstance, before: _Newest | None, now: datetime) -> _Newest | None:
    runs = instance.get_runs(dg.RunsFilter(job_name=login_job.name), limit=1)
    return _Newest(run_id=runs[0].run_id, seen=_seen(runs[0].run_id, before, now)) if runs else None


def _seen(run_id: str, before: _Newest | None, now: datetime) -> datetime:
    return before.seen if before and before.run_id == run_id and before.seen <= now else now


def _observed(depth: QueueDepth, before: _Observed | None, now: datetime) -> _Observed:
    """What has been observed after this tick: the depth, if it changed and the last observation is old enough."""
    if before and (before.depth == depth or now - OBSERVATION_INTERVAL < before.at <= now):
        return before
    return _Observed(depth=depth, at=now)


def _waits_until(newest: _Newest | None, interval: timedelta, now: datetime) -> datetime | None:
    """Until when less than a batch waits for more messages; None where it waits no longer."""
    until = newest.seen + interval if newest else now
    return until if until > now else None


def _requests(newest: _Newest | None, wanted: int) -> list[dg.RunRequest]:
    """Keyed by the newest run: never used again, and the same for two daemons that look at the same moment."""
    after = newest.run_id if newest else "none"
    return [dg.RunRequest(f"after {after}, {number}") for number in range(wanted)]


def _wanted_runs(batches: int, active: Sequence[dg.RunRecord], places: int) -> int:
    """One for each batch that no run is on its way to; started runs have their messages."""
    on_their_way = sum(run.dagster_run.status is not dg.DagsterRunStatus.STARTED for run in active)
    return min(batches - on_their_way, places - len(active))


def _places(instance: dg.DagsterInstance, at_once: int) -> int:
    """How many runs may be at work and on their way: twice as many where Dagster's queue keeps to the limit.

    A run of a full batch lasts about as long as a tick: so the next ones are requested before a place is free.
    """
    return 2 * at_once if isinstance(instance.run_coordinator, dg.QueuedRunCoordinator) else at_once


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


def _failing_since(last_runs: Sequence[dg.RunRecord], before: _Failing | None, now: datetime) -> _Failing | None:
    failed = list(takewhile(lambda run: run.dagster_run.status is dg.DagsterRunStatus.FAILURE, last_runs))
    if len(failed) < FAILURES_TO_BACK_OFF:
        return None
    newest = failed[0].dagster_run.run_id
    return _Failing(run_id=newest, seen=_seen(newest, before, now), failures=len(failed))


def _remembered(cursor: str | None) -> _Cursor:
    try:
        return _Cursor.model_validate_json(cursor or "{}")
    except ValidationError:  # somebody else's: a person can write the cursor in the UI
        return _Cursor()


def _pause(failing: _Failing | None, now: datetime) -> str | None:
    """Why no run is started yet after failures in a row; each further one doubles the pause."""
    if failing is None:
        return None
    pause = min(FIRST_PAUSE * 2 ** (failing.failures - FAILURES_TO_BACK_OFF), MAX_PAUSE)
    if now >= failing.seen + pause:
        return None
    return (
        f"The last {failing.failures} runs failed; the next one is started after {failing.seen + pause:%H:%M:%S} UTC. "
        "The newest failed run says what is wrong"
    )


def _skip_reason(depth: QueueDepth, batches: int, wanted: int, active: int, waits_until: datetime | None) -> str | None:
    if not depth.visible:
        return f"The queue has no messages to receive ({depth.in_flight} in flight, {depth.delayed} delayed)"
    if not batches:
        return f"{depth.visible} messages, less than a batch, wait for more until {waits_until:%H:%M:%S} UTC"
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
