"""What is known of the pipeline at one moment, and where from. It changes nothing, and needs no masking key.

The processes that load live for seconds, so nothing is counted in one: SQS has the queues, PostgreSQL the dead letters,
and Dagster's records all that runs did. What one source does not say is None, and costs the others nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from threading import BoundedSemaphore, Thread
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import dagster as dg
from dagster_postgres import PostgresEventLogStorage

from login_pipeline.defs.assets import (
    KEY_MADE_ON,
    OLDEST_AGE,
    masked_logins,
    quarantined_logins,
    raw_sqs_messages,
    user_logins_table,
)
from login_pipeline.defs.backup import user_logins_backup
from login_pipeline.defs.checks import user_logins_table_checks
from login_pipeline.defs.jobs import LOGIN_JOB
from login_pipeline.defs.prefix import runs_of
from login_pipeline.defs.run_history import JOBS
from login_pipeline.errors import LoginPipelineError
from login_pipeline.instance import HOST_TAG
from login_pipeline.logins.reasons import Reason
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth

ACTIVE_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ENDED_STATUSES = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# More failures in a row are counted as so many.
MAX_FAILURES = 100
# So many materializations are read at once.
READ_AT_ONCE = 500
# Of the newest results of a check so many may be missing: of runs that are at work, or were canceled before it.
RESULTS = 10
# The check that fails nothing.
WARNS_ONLY = "rows_share_their_group_with_others"
# The jobs beside login_job. Where user_logins_checks_job fails, each check without a result has failed.
OTHER_JOBS = [job for job in JOBS if job not in {LOGIN_JOB, "user_logins_checks_job"}]

# For the answers of all sources: a scrape has 30 seconds, and a look 60 for these and for a delivery.
ANSWER_SECONDS = 15.0
# So many questions to a source may wait for their answers; more are not asked. Dagster's storage waits without a limit.
UNANSWERED = 4

Said = TypeVar("Said")


class Source(StrEnum):
    """What was asked."""

    LOGIN_QUEUE = "login_queue"
    DATABASE = "database"
    DAGSTER = "dagster"


_MAY_ASK = {source: BoundedSemaphore(UNANSWERED) for source in Source}


class Batches(NamedTuple):
    """What the assets of login_job say of the messages they handled, in messages.

    What a step did before it failed is not in it.
    """

    loaded: int
    duplicates: int
    quarantined: int
    deleted: int


class Check(NamedTuple):
    """The newest result of a check on the table; one that did not pass has failed or, where `warns`, only warned.

    One that `ran` not has failed, too: its newest run did, before it had a result.
    """

    passed: bool
    warns: bool
    ran: bool = True


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What Dagster's records say. Runs are those of login_job, where no other job is named."""

    # Runs that no worker has taken yet, and those at work now.
    waiting: int
    at_work: int
    # Hosts that work on a run, or whose run has ended since. Idle workers are not known here.
    hosts: int
    # Runs that ended since, by status, and the seconds that the longest of them took.
    ended: Mapping[dg.DagsterRunStatus, int]
    longest_seconds: float
    # How many of the newest runs that ended have failed, one after another; those that were canceled do not count.
    failures_in_a_row: int
    # Whether the newest run that ended has failed, likewise, of each of OTHER_JOBS.
    job_failed: Mapping[str, bool]
    # When the oldest run that is known was made.
    oldest_run_at: datetime | None
    # What was done since.
    batches: Batches
    # When a run last received, and how old its oldest message was, in seconds. The age of the oldest message on the
    # queue is no attribute of a queue: only CloudWatch has it.
    received_at: datetime | None
    oldest_age: float | None
    # The newest results of the checks on the table, by name, and what two of them counted.
    checks: Mapping[str, Check]
    rows: int | None
    rows_below_k: int | None
    # When a backup was last made by a run; one by a command without DAGSTER_HOME is not known here.
    backup_at: datetime | None
    # The day of the key that the newest run masked with; None without a key, or where its day is not written with it.
    key_made_on: date | None
    # The size of Dagster's own database; None where that is not PostgreSQL.
    database_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is known. `problems` has a sentence for each source that said nothing."""

    login_queue: QueueDepth | None
    # Dead letters that were recorded since, by reason; every reason is there. What SQS's redrive policy moves has no
    # record.
    dead_letters: Mapping[Reason, int] | None
    runs: RunFacts | None
    problems: Mapping[Source, str]


def gather(
    instance: dg.DagsterInstance,
    queues: LoginQueues,
    database: LoginDatabase,
    *,
    since: datetime,
    letters_since: datetime | None = None,
    prefix: Sequence[str] = (),
) -> Facts:
    """Asks every source at the same time, for ANSWER_SECONDS; raises nothing that is theirs.

    Args:
        instance: Dagster's records.
        queues: The login queue is asked for its depth; a role with sensor-policy.json may.
        database: That of user_logins.
        since: From when on runs that ended, their messages, and dead letters are counted.
        letters_since: The same for dead letters, where that is another time.
        prefix: Of the assets.
    """
    problems: dict[Source, str] = {}
    longest = timedelta(seconds=database.settings.visibility_timeout)

    depth = _ask(Source.LOGIN_QUEUE, lambda: queues.login_queue.depth())
    letters = _ask(Source.DATABASE, lambda: database.dead_letters_since(letters_since or since))
    runs = _ask(Source.DAGSTER, lambda: _run_facts(instance, prefix, since, longest))
    until = monotonic() + ANSWER_SECONDS

    def answer(source: Source, said: Future[Said]) -> Said | None:
        try:
            return said.result(max(0.0, until - monotonic()))
        except LoginPipelineError as error:
            problems[source] = error.sentence
        except TimeoutError:
            problems[source] = (
                f"The source {source} gave no answer in {ANSWER_SECONDS:.0f} seconds; see what holds it up"
            )
        return None

    return Facts(
        login_queue=answer(Source.LOGIN_QUEUE, depth),
        dead_letters=answer(Source.DATABASE, letters),
        runs=answer(Source.DAGSTER, runs),
        problems=problems,
    )


def _ask(source: Source, question: Callable[[], Said]) -> Future[Said]:
    """In a thread that no process waits for at its end."""
    said: Future[Said] = Future()

    def ask() -> None:
        try:
            said.set_result(question())
        except BaseException as error:
            said.set_exception(error)
        finally:
            _MAY_ASK[source].release()

    if _MAY_ASK[source].acquire(blocking=False):
        Thread(target=ask, name=f"ask {source}", daemon=True).start()
    else:
        said.set_exception(TimeoutError())
    return said


def active_runs(instance: dg.DagsterInstance, longest: timedelta, prefix: Sequence[str] = ()) -> Sequence[dg.RunRecord]:
    """The runs of login_job, on assets with this prefix, at work and on their way.

    A run whose state did not change for longer than a run may last was lost, with its host say, and does not count. A
    run that waits in Dagster's queue cannot be lost.
    """
    changed_after = datetime.now(UTC) - longest
    active = instance.get_run_records(runs_of(LOGIN_JOB, prefix, statuses=ACTIVE_STATUSES))
    return [
        run
        for run in active
        if run.dagster_run.status is dg.DagsterRunStatus.QUEUED or run.update_timestamp > changed_after
    ]


def newest_failures(instance: dg.DagsterInstance, limit: int, prefix: Sequence[str] = ()) -> list[str]:
    """The ids of the newest runs of login_job that succeeded or failed, as far as they failed; at most `limit`."""
    ended = _newest_ended(instance, LOGIN_JOB, prefix, limit)
    return [run.run_id for run in takewhile(lambda run: run.status is dg.DagsterRunStatus.FAILURE, ended)]


def _newest_ended(instance: dg.DagsterInstance, job: str, prefix: Sequence[str], limit: int) -> Sequence[dg.DagsterRun]:
    """Without those that a person, or a stop of Dagster, has canceled: they say nothing of what is wrong."""
    wanted = runs_of(job, prefix, statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
    return instance.get_runs(wanted, limit=limit)


def _run_facts(instance: dg.DagsterInstance, prefix: Sequence[str], since: datetime, longest: timedelta) -> RunFacts:
    try:
        return _recorded(instance, prefix, since, longest)
    except Exception as error:  # SQLAlchemy's, or Dagster's own
        raise LoginPipelineError(
            f"Dagster's records cannot be read ({type(error).__name__}); check DAGSTER_HOME, and the database that its "
            "dagster.yaml names (LOGIN_DAGSTER_DATABASE_URL)"
        ) from None


def _recorded(instance: dg.DagsterInstance, prefix: Sequence[str], since: datetime, longest: timedelta) -> RunFacts:
    active = active_runs(instance, longest, prefix)
    statuses = Counter(run.dagster_run.status for run in active)
    at_work = statuses[dg.DagsterRunStatus.STARTED]
    oldest = instance.get_run_records(runs_of(LOGIN_JOB, prefix), limit=1, ascending=True)
    ended = instance.get_run_records(runs_of(LOGIN_JOB, prefix, statuses=ENDED_STATUSES, updated_after=since))
    received, received_at = _newest(instance, raw_sqs_messages.key.with_prefix(prefix))
    masked, _ = _newest(instance, masked_logins.key.with_prefix(prefix))
    _, backup_at = _newest(instance, user_logins_backup.key.with_prefix(prefix))
    results = _check_results(instance, prefix)
    made_on = masked.get(KEY_MADE_ON)
    return RunFacts(
        waiting=len(active) - at_work - statuses[dg.DagsterRunStatus.CANCELING],
        at_work=at_work,
        hosts=len({run.dagster_run.tags.get(HOST_TAG) for run in [*active, *ended]} - {None}),
        ended=Counter(run.dagster_run.status for run in ended),
        longest_seconds=max((_seconds(run) for run in ended), default=0.0),
        failures_in_a_row=len(newest_failures(instance, MAX_FAILURES, prefix)),
        job_failed={
            job: any(run.is_failure for run in _newest_ended(instance, job, prefix, limit=1)) for job in OTHER_JOBS
        },
        oldest_run_at=oldest[0].create_timestamp if oldest else None,
        batches=_batches(instance, prefix, since),
        received_at=received_at,
        oldest_age=received.get(OLDEST_AGE),
        checks={
            name: Check(result.passed, result.severity is dg.AssetCheckSeverity.WARN)
            if result
            else Check(passed=False, warns=name == WARNS_ONLY, ran=False)
            for name, result in results.items()
        },
        rows=_count(results.get("rows_agree_with_the_inbox"), "rows"),
        rows_below_k=_count(results.get(WARNS_ONLY), "rows_below_k"),
        backup_at=backup_at,
        key_made_on=date.fromisoformat(made_on) if made_on else None,
        database_bytes=_database_bytes(instance),
    )


def _seconds(run: dg.RunRecord) -> float:
    """From its start to its end; 0 where it never started."""
    return run.end_time - run.start_time if run.start_time and run.end_time else 0.0


def _batches(instance: dg.DagsterInstance, prefix: Sequence[str], since: datetime) -> Batches:
    done: Counter[str] = Counter()
    for materialization in _since(instance, quarantined_logins.key.with_prefix(prefix), since):
        said = _plain(materialization.metadata)
        done.update(quarantined=said.get("dagster/row_count", 0), deleted=said.get("deleted", 0))
    for materialization in _since(instance, user_logins_table.key.with_prefix(prefix), since):
        said = _plain(materialization.metadata)  # one that a person reported in the UI has none of it
        done.update({name: said.get(name, 0) for name in Batches._fields})
    return Batches(**{name: done[name] for name in Batches._fields})


def _since(instance: dg.DagsterInstance, asset: dg.AssetKey, since: datetime) -> Iterator[dg.AssetMaterialization]:
    wanted = dg.AssetRecordsFilter(asset, after_timestamp=since.timestamp())
    result = instance.fetch_materializations(wanted, limit=READ_AT_ONCE)
    while True:
        yield from (each.asset_materialization for each in result.records if each.asset_materialization)
        if not result.has_more:
            return
        result = instance.fetch_materializations(wanted, limit=READ_AT_ONCE, cursor=result.cursor)


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey) -> tuple[dict[str, Any], datetime | None]:
    """What the newest materialization says, and of when it is."""
    event = instance.get_latest_materialization_event(asset)
    if event is None or event.asset_materialization is None:
        return {}, None
    return _plain(event.asset_materialization.metadata), datetime.fromtimestamp(event.timestamp, UTC)


def _check_results(instance: dg.DagsterInstance, prefix: Sequence[str]) -> dict[str, dg.AssetCheckEvaluation | None]:
    """The newest result of each check on the table that has one; None where a newer run failed without one."""
    results: dict[str, dg.AssetCheckEvaluation | None] = {}
    for spec in user_logins_table_checks(prefix).check_specs:
        for each in instance.event_log_storage.get_asset_check_execution_history(spec.key, limit=RESULTS):
            evaluation = each.evaluation if isinstance(each.evaluation, dg.AssetCheckEvaluation) else None
            if evaluation or _has_failed(instance, each.run_id):
                results[spec.name] = evaluation
                break
    return results


def _has_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_failure


def _count(result: dg.AssetCheckEvaluation | None, name: str) -> int | None:
    """What a check has counted; None where it did not get so far."""
    return _plain(result.metadata).get(name) if result else None


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _database_bytes(instance: dg.DagsterInstance) -> int | None:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return None
    with storage.index_connection() as connection:
        return int(connection.exec_driver_sql(statements.dagster.size).scalar_one())
