"""What is wrong, by the facts of one look and by what the looks before it saw. Pure. It says codes and counts only."""

from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel

from login_pipeline.alerts.decision import Wrong
from login_pipeline.defs.decision import FAILURES_TO_BACK_OFF
from login_pipeline.defs.facts import Facts, RunFacts, Source
from login_pipeline.errors import LoginPipelineError
from login_pipeline.settings import Settings

# Of a message on the queue, after LOGIN_RUN_INTERVAL, which may hold it back.
MAX_AGE = timedelta(minutes=15)
# How long a dead letter is new.
NEW_LETTERS = timedelta(hours=1)
# The schedule makes a backup a day; one that failed may be made again by day.
MAX_BACKUP_AGE = timedelta(hours=36)
# Source: NIST SP 800-57 part 1, table 1, symmetric key-derivation keys: about a year.
MAX_KEY_AGE = timedelta(days=365)


class Watch(BaseModel):
    """What one look cannot say: when the first one was, and since when messages wait that no run receives."""

    began: AwareDatetime
    waiting_since: AwareDatetime | None = None

    def after(self, facts: Facts, now: datetime) -> "Watch":
        """The same after one look more."""
        if facts.login_queue is None:
            return self
        since = None
        if facts.login_queue.visible:
            since = min(self.waiting_since or now, now)
            received_at = facts.runs and facts.runs.received_at
            since = max(since, received_at or since)
        return self.model_copy(update={"waiting_since": since})


def a_setting_is_wrong(error: LoginPipelineError) -> dict[str, Wrong]:
    """Then nothing is asked, and runs fail. Its sentence goes on with an example, which may be a URL."""
    return {"settings": Wrong(f"settings: {error.sentence.partition(';')[0]}")}


def what_is_wrong(facts: Facts, watch: Watch, settings: Settings, now: datetime) -> dict[str, Wrong]:
    """Each thing that is wrong, by a name that it keeps."""
    wrong = {
        source.value: Wrong(f"{source}: no answer; `login-pipeline doctor` says why", (source,))
        for source in facts.problems
    }
    for reason, letters in (facts.dead_letters or {}).items():
        if letters:
            says = f"dead letters: {letters:,} in an hour for the reason {reason}"
            wrong[f"dead letters {reason}"] = Wrong(says, (Source.DATABASE,))
    if facts.runs and (age := _oldest_age(facts, watch, now)) > MAX_AGE + timedelta(seconds=settings.run_interval):
        says = f"queue: its oldest message is {_minutes(age)} old, or older"
        wrong["queue"] = Wrong(says, (Source.LOGIN_QUEUE, Source.DAGSTER))
    if facts.runs:
        wrong |= _by_runs(facts.runs, watch, settings, now)
    return wrong


def _oldest_age(facts: Facts, watch: Watch, now: datetime) -> timedelta:
    """At least so old is the oldest message on the queue, which SQS does not say: by what waits, or was received."""
    if facts.login_queue is None or watch.waiting_since is None:
        return timedelta(0)
    waited = now - watch.waiting_since
    runs = facts.runs
    if runs is None or runs.oldest_age is None or runs.received_at is None or now - runs.received_at > MAX_AGE:
        return waited
    return max(waited, timedelta(seconds=runs.oldest_age))


def _by_runs(runs: RunFacts, watch: Watch, settings: Settings, now: datetime) -> dict[str, Wrong]:
    """By what Dagster's records say."""
    wrong = {
        f"check {name}": Wrong(f"check: {name} {'failed' if check.ran else 'could not run'}", (Source.DAGSTER,))
        for name, check in runs.checks.items()
        if not check.passed and not check.warns
    }
    if runs.failures_in_a_row >= FAILURES_TO_BACK_OFF:
        says = f"runs: {runs.failures_in_a_row} failed in a row; the newest says why"
        wrong["runs"] = Wrong(says, (Source.DAGSTER,))
    wrong |= {
        f"job {job}": Wrong(f"job: {job} failed; its newest run says why", (Source.DAGSTER,))
        for job, failed in runs.job_failed.items()
        if failed
    }
    backup_age = now - (runs.backup_at or watch.began)
    if settings.backup_url and backup_age > MAX_BACKUP_AGE:
        wrong["backup"] = Wrong(f"backup: none for {backup_age // timedelta(hours=1)} hours", (Source.DAGSTER,))
    if runs.key_made_on and now.date() - runs.key_made_on > MAX_KEY_AGE:
        says = f"masking key: {(now.date() - runs.key_made_on).days} days old"
        wrong["masking key"] = Wrong(says, (Source.DAGSTER,), reminds=False)
    return wrong


def _minutes(age: timedelta) -> str:
    return f"{age // timedelta(minutes=1):,} minutes"
