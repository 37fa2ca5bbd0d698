"""How many runs to request: from the queue's depth, from login_job's runs, and from what was remembered. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ValidationError

from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth

# Failed runs in a row after which the sensor pauses.
FAILURES_TO_BACK_OFF = 3
FIRST_PAUSE = timedelta(seconds=30)
MAX_PAUSE = timedelta(minutes=15)
# The depth is observed when it changed, and not at every tick: Dagster would keep 17,280 observations a day.
OBSERVATION_INTERVAL = timedelta(minutes=1)


class Runs(NamedTuple):
    """The runs of login_job, as Dagster's instance has them."""

    # The id of the newest one.
    newest: str | None
    # Requested, and without messages yet.
    on_their_way: int
    at_work: int
    # The ids of those that failed since one ended otherwise, the newest first.
    failed: Sequence[str]
    # How many there may be, at work and on their way.
    places: int

    @property
    def active(self) -> int:
        """At work and on their way."""
        return self.on_their_way + self.at_work


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
        failing=_failing_since(runs.failed, before.failing, now),
        observed=_observed(depth, before.observed, now),
    )
    waits_until = _waits_until(cursor.newest, timedelta(seconds=settings.run_interval), now)
    full, all_of_it = depth.visible // settings.batch_size, math.ceil(depth.visible / settings.batch_size)
    batches = full if waits_until else all_of_it
    wanted = min(batches - runs.on_their_way, runs.places - runs.active)
    reason = _pause(cursor.failing, now) or _skip_reason(depth, batches, wanted, runs.active, waits_until)
    return Decision(0 if reason else wanted, reason, cursor)


def remembered(cursor: str | None) -> Cursor:
    """What the tick before has remembered."""
    try:
        return Cursor.model_validate_json(cursor or "{}")
    except ValidationError:  # somebody else's: a person can write the cursor in the UI
        return Cursor()


def _newest_since(run_id: str | None, before: _Newest | None, now: datetime) -> _Newest | None:
    return _Newest(run_id=run_id, seen=_seen(run_id, before, now)) if run_id else None


def _seen(run_id: str, before: _Newest | None, now: datetime) -> datetime:
    return before.seen if before and before.run_id == run_id and before.seen <= now else now


def _failing_since(failed: Sequence[str], before: _Failing | None, now: datetime) -> _Failing | None:
    if len(failed) < FAILURES_TO_BACK_OFF:
        return None
    return _Failing(run_id=failed[0], seen=_seen(failed[0], before, now), failures=len(failed))


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
