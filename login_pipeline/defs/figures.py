"""The figures of the pipeline, each by its one name: for Prometheus, and for the line that health_sensor logs.

They are counts, times and codes, none of them a value of a message. A label's values are a closed set.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from login_pipeline.defs.facts import ENDED_STATUSES, Facts, RunFacts, Source
from login_pipeline.settings import MAX_IN_FLIGHT, Settings

# What "recent" is in the name of a figure: several looks, so that each event is seen in one.
RECENT = timedelta(minutes=10)


class Figure(NamedTuple):
    """One number, or one for each value of a label. What is not known is None, or has no value of the label."""

    name: str
    says: str
    value: float | Mapping[str, float] | None
    label: str = ""


def figures(facts: Facts, settings: Settings) -> list[Figure]:
    """All of them, of facts since `RECENT`."""
    return [*_of_sources(facts), *(_of_runs(facts.runs, settings) if facts.runs else ())]


def _of_sources(facts: Facts) -> Iterator[Figure]:
    yield Figure(
        "source_up",
        "Whether the source said what it knows at this look; the log has the reason where it is 0",
        {source: int(source not in facts.problems) for source in Source},
        "source",
    )
    yield Figure(
        "queue_messages",
        "Messages on the login queue as SQS counts them: approximate, up to a minute late",
        facts.login_queue._asdict() if facts.login_queue else {},
        "state",
    )
    yield Figure("queue_in_flight_limit", "Messages in flight at which SQS delivers no more", MAX_IN_FLIGHT)
    yield Figure(
        "recent_dead_letters",
        "Dead letters recorded in the last 10 minutes, by the first part of their reason code",
        {str(reason): letters for reason, letters in (facts.dead_letters or {}).items()},
        "reason",
    )


def _of_runs(runs: RunFacts, settings: Settings) -> Iterator[Figure]:
    yield Figure(
        "runs",
        "Runs of login_job that wait for a worker, and those at work",
        {"waiting": runs.waiting, "at_work": runs.at_work},
        "state",
    )
    yield Figure("worker_hosts", "Hosts that have worked on a run in the last 10 minutes", runs.hosts)
    yield Figure(
        "recent_runs_ended",
        "Runs of login_job that ended in the last 10 minutes",
        {status.value.lower(): runs.ended.get(status, 0) for status in ENDED_STATUSES},
        "outcome",
    )
    yield Figure(
        "recent_longest_run_seconds",
        "The longest run of login_job that ended in the last 10 minutes",
        runs.longest_seconds,
    )
    yield Figure("run_limit_seconds", "LOGIN_VISIBILITY_TIMEOUT: how long a run may take", settings.visibility_timeout)
    yield Figure("failures_in_a_row", "Newest runs of login_job that failed, one after another", runs.failures_in_a_row)
    yield Figure(
        "job_failed",
        "Whether the newest run of a job beside login_job has failed",
        {job: int(failed) for job, failed in runs.job_failed.items()},
        "job_name",
    )
    yield Figure(
        "recent_messages",
        "What runs did with messages in the last 10 minutes",
        runs.batches._asdict(),
        "outcome",
    )
    yield Figure("last_receive_timestamp_seconds", "When a run last received; 0: never", _seconds(runs.received_at))
    yield Figure(
        "oldest_received_age_seconds", "Age of the oldest message that the newest run received", runs.oldest_age
    )
    yield Figure(
        "check_passed",
        "The newest result of each check on the table that can fail",
        {name: int(result.passed) for name, result in runs.checks.items() if not result.warns},
        "check",
    )
    yield Figure("rows", "Rows of user_logins at the newest check", runs.rows)
    yield Figure(
        "rows_below_k",
        "Rows in groups of fewer than LOGIN_MIN_GROUP_SIZE users, at the newest check",
        runs.rows_below_k,
    )
    yield Figure("dagster_database_bytes", "Size of Dagster's own database", runs.database_bytes)
    backup_at = runs.backup_at or runs.oldest_run_at
    yield Figure(
        "last_backup_timestamp_seconds",
        "When a run last made a backup, where LOGIN_BACKUP_URL is set; before the first one, when the oldest known run "
        "was made",
        backup_at.timestamp() if backup_at and settings.backup_url else None,
    )
    yield Figure(
        "masking_key_made_timestamp_seconds",
        "The day of the key that the newest run masked with",
        _midnight(runs.key_made_on) if runs.key_made_on else None,
    )


def _seconds(moment: datetime | None) -> float:
    """Since the epoch."""
    return moment.timestamp() if moment else 0.0


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
