"""How many runs to request: from the queue's depth, from login_job's runs, and from what was remembered. Pure."""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ValidationError

from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth

# Failed runs in a row after which there is a pause, twice as long where a run fails after it again.
#
# It is short: the end of an outage is to be noticed, and a run that fails may load its logins all the same. That no
# message is delivered too often is not its task: a run that fails releases messages for longer each time.
FAILURES_TO_BACK_OFF = 3
FIRST_PAUSE = timedelta(seconds=30)
MAX_PAUSE = timedelta(minutes=2)
# The depth is observed when it changed, and not at every tick: Dagster would keep 17,280 observations a day.
OBSERVATION_INTERVAL = timedelta(minutes=1)
# An empty queue gets a run this often, after the first one. It loads nothing, and shows that all that arrived is in the
# table and that a login that arrives would be loaded.
IDLE_INTERVAL = timedelta(hours=1)


class Runs(NamedTuple):
    """The runs of login_job, as Dagster's instance has them."""

    # The id of the newest one.
    newest: str | None
    # Requested, and without messages yet.
    on_their_way: int
    at_work: int
    # The id of the newest failed one, where the last FAILURES_TO_BACK_OFF that ended have failed.
    failing: str | None
    # Whether Dagster's own queue keeps to the limit of runs at work.
    limited: bool

    @property
    def active(self) -> int:
        """At work and on their way."""
        return self.on_their_way + self.at_work


class _Newest(BaseModel):
    """The newest run, and when the sensor first saw it: by its own clock, not by the database's or a run's host's."""

    run_id: str
    seen: AwareDatetime


class _Failing(BaseModel):
    """The newest of failed runs in a row, and when the sensor saw it and paused for so long."""

    run_id: str
    seen: AwareDatetime
    pause: timedelta

    @property
    def until(self) -> datetime:
        """The end of the pause."""
        return self.seen + self.pause


class _Observed(BaseModel):
    """The depth that was observed last."""

    depth: QueueDepth
    at: AwareDatetime


class Cursor(BaseModel):
    """What the sensor remembers from tick to tick. All times are of its own clock."""

    newest: _Newest | None = None
    failing: _Failing | None = None
    observed: _Observed | None = None


class Decision(NamedTuple):
    """How many runs to request, or why none; and what to remember."""

    wanted: int
    reason: str | None
    cursor: Cursor


def decide(depth: QueueDepth, runs: Runs, before: Cursor, settings: Settings, now: datetime) -> Decision:
    """One run for each batch that no run is on its way to, as far as there are places; started runs have theirs."""
    cursor = Cursor(
        newest=_newest_since(runs.newest, before.newest, now),
        failing=_failing_since(runs.failing, before.failing, now),
        observed=_observed(depth, before.observed, now),
    )
    waits_until = _waits_until(cursor.newest, timedelta(seconds=settings.run_interval), now)
    full, all_of_it = depth.visible // settings.batch_size, math.ceil(depth.visible / settings.batch_size)
    batches = full if waits_until else all_of_it
    if not depth.visible and cursor.newest and not _waits_until(cursor.newest, IDLE_INTERVAL, now):
        batches = 1
    # A run of a full batch lasts about as long as a tick: so the next ones are requested before a place is free.
    ahead = runs.limited and not cursor.failing
    places = settings.max_concurrent_runs * (2 if ahead else 1)
    wanted = min(batches - runs.on_their_way, places - runs.active)
    reason = _pause(cursor.failing, now) or _skip_reason(depth, batches, wanted, runs.active, waits_until)
    return Decision(0 if reason else wanted, reason, cursor)


def remembered(cursor: str | None) -> Cursor:
    """What the tick before has remembered."""
    try:
        return Cursor.model_validate_json(cursor or "{}")
    except ValidationError:  # somebody else's: a person can write the cursor in the UI
        return Cursor()


def _newest_since(run_id: str | None, before: _Newest | None, now: datetime) -> _Newest | None:
    if before and before.run_id == run_id and before.seen <= now:
        return before
    return _Newest(run_id=run_id, seen=now) if run_id else None


def _failing_since(run_id: str | None, before: _Failing | None, now: datetime) -> _Failing | None:
    """The runs that fail in a pause were started before it, and make it no longer: many may fail at once."""
    if run_id is None:
        return None
    if before is None or before.seen > now:
        return _Failing(run_id=run_id, seen=now, pause=FIRST_PAUSE)
    if before.run_id == run_id or now < before.until:
        return before.model_copy(update={"run_id": run_id})
    return _Failing(run_id=run_id, seen=now, pause=min(2 * before.pause, MAX_PAUSE))


def _observed(depth: QueueDepth, before: _Observed | None, now: datetime) -> _Observed:
    """What has been observed after this tick: the depth, if it changed and the last observation is old enough."""
    if before and (before.depth == depth or now - OBSERVATION_INTERVAL < before.at <= now):
        return before
    return _Observed(depth=depth, at=now)


def _waits_until(newest: _Newest | None, interval: timedelta, now: datetime) -> datetime | None:
    """Until when less than a batch waits for more messages; None where it waits no longer."""
    until = newest.seen + interval if newest else now
    return until if until > now else None


def _pause(failing: _Failing | None, now: datetime) -> str | None:
    """Why no run is started yet after failures in a row."""
    if failing is None or now >= failing.until:
        return None
    return (
        f"The last {FAILURES_TO_BACK_OFF} runs failed; the next one is started after {failing.until:%H:%M:%S} UTC. "
        "The newest failed run says what is wrong"
    )


def _skip_reason(depth: QueueDepth, batches: int, wanted: int, active: int, waits_until: datetime | None) -> str | None:
    if not depth.visible and not batches:
        return f"The queue has no messages to receive ({depth.in_flight} in flight, {depth.delayed} delayed)"
    if not batches:
        return f"{depth.visible} messages, less than a batch, wait for more until {waits_until:%H:%M:%S} UTC"
    if wanted <= 0:
        return f"{active} runs are at work on {depth.visible} messages"
    return None
