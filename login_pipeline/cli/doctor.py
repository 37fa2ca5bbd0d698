"""Examines the settings and what they name, one thing at a time, and changes nothing."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple

from login_pipeline.backup.identity import read_manifest, require_own_backup
from login_pipeline.backup.store import backup_store
from login_pipeline.cli.options import counted, extra
from login_pipeline.core_dumps import dump_taker
from login_pipeline.errors import LoginPipelineError
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.masker import NOT_KEYED, Masker
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import first_uncovered_date
from login_pipeline.postgres.tables import Table, is_there, replication_problem
from login_pipeline.settings import MaskingMethod, Settings, read_settings
from login_pipeline.sqs.errors import endpoint_in_clear
from login_pipeline.sqs.login_queues import LoginQueues, few_deliveries
from login_pipeline.sqs.queue import QueueDepth


class Diagnosis(NamedTuple):
    """What was examined, whether all is well with it, and what there is to say; `warns` of what works and is weak."""

    subject: str
    well: bool
    says: str
    warns: bool = False


class _WeakError(LoginPipelineError):
    """It works, and protects less than it could."""


def examine() -> list[Diagnosis]:
    """One finding for each thing that a run needs; never raises."""
    try:
        settings = read_settings()
    except LoginPipelineError as error:
        return [Diagnosis("settings", False, error.sentence)]
    limits = Diagnosis("settings", True, _limits(settings))
    queues, database = LoginQueues(settings), LoginDatabase(settings, keep_connection=True)
    login_queue = _examined("login queue", lambda: _login_queue(queues))
    examinations: dict[str, Callable[[], str]] = {
        "dead-letter queue": lambda: _dead_letter_queue(queues, compared=login_queue.well),
        "database": lambda: _database(database),
        "server log": lambda: _server_log(database),
        "maintenance role": lambda: _protected(LoginDatabase(settings, maintenance=True)),
        "masking": lambda: _masking(settings),
        "backup": lambda: _backup_place(settings, database),
        "redis": lambda: _redis(settings),
        "core dumps": _core_dumps,
    }
    if settings.maintenance_database_url is None:  # as on a host that only runs the pipeline
        del examinations["maintenance role"]
    if settings.backup_url is None:
        del examinations["backup"]
    if settings.redis_url is None:
        del examinations["redis"]
    with closing(database):
        return [limits, login_queue, *(_examined(*each) for each in examinations.items())]


def _examined(subject: str, examination: Callable[[], str]) -> Diagnosis:
    try:
        return Diagnosis(subject, True, examination())
    except _WeakError as weak:
        return Diagnosis(subject, True, weak.sentence, warns=True)
    except LoginPipelineError as error:
        return Diagnosis(subject, False, error.sentence)


def _limits(settings: Settings) -> str:
    return (
        f"{settings.batch_size:,} messages a run, {settings.max_concurrent_runs} runs at once, invisible for "
        f"{settings.visibility_timeout} s; region {settings.queue_region or 'as the AWS SDK finds it'}"
    )


def _count(depth: QueueDepth) -> str:
    return f"{depth.visible:,} messages to receive, {depth.in_flight:,} in flight, {depth.delayed:,} delayed"


def _login_queue(queues: LoginQueues) -> str:
    says = f"{queues.login_queue.url}: {_count(queues.login_queue.depth())}"
    deliveries = queues.login_queue.max_receive_count
    if wrong := [each for each in (few_deliveries(deliveries), endpoint_in_clear(queues.endpoint)) if each]:
        raise LoginPipelineError(f"{says}. {'. '.join(wrong)}")
    return says if deliveries is None else f"{says}; its redrive policy takes effect after {deliveries} deliveries"


def _dead_letter_queue(queues: LoginQueues, *, compared: bool) -> str:
    says = f"{queues.dead_letter_queue.url}: {_count(queues.dead_letter_queue.depth())}"
    if compared:  # with the login queue, where that one responds
        queues.check()
        if warning := queues.small_dead_letter_queue():
            raise _WeakError(f"{says}. {warning}")
    return says


def _database(database: LoginDatabase) -> str:
    missing = database.check()
    excluded = not missing and database.check_exclusion()
    with database.transaction() as cursor:
        problem = replication_problem(cursor)
        uncovered = None if missing else first_uncovered_date(cursor)
    where, in_clear = _way_to(database)
    wrong = [each for each in (in_clear, problem) if each]  # the latter ends with commands
    weak = []
    if uncovered:
        weak.append(
            f"no partition for {uncovered}, from which day on runs receive nothing; `login-pipeline prepare` as the "
            "tables' owner creates those of months that have none"
        )
    if not missing and not excluded:
        weak.append(
            "a row and a dead letter were tried, and taken back; whether two loads exclude each other was not, because "
            "the role gets one connection only"
        )
    if wrong or weak:
        raise (LoginPipelineError if wrong else _WeakError)(f"{where}: {'; '.join([*weak, *wrong])}")
    if missing:
        return (
            f"{where}: no {', '.join(missing)} yet; `login-pipeline prepare` or the first run creates what is missing"
        )
    return f"{where}: a row, a dead letter and a lock were tried, and taken back"


def _protected(database: LoginDatabase) -> str:
    """Where the database is, and how the way there is protected."""
    where, in_clear = _way_to(database)
    if in_clear:
        raise LoginPipelineError(f"{where}: {in_clear}")
    return where


def _way_to(database: LoginDatabase) -> tuple[str, str | None]:
    """Where the database is and how the way there is protected; and what to do where it is not."""
    protection = database.protection()
    in_clear = None if protection.enough else f"add sslmode=verify-full to {database.access.variable}"
    return f"{database.where()} ({protection.says})", in_clear


def _masking(settings: Settings) -> str:
    masker = Masker(settings)
    masker.masks()
    if masker.method is MaskingMethod.SHA256:
        raise _WeakError(NOT_KEYED)
    ring = masking_keys(settings)
    made_on = ring.active.made_on
    age = (
        f"{(datetime.now(UTC).date() - made_on).days} days old" if made_on else "of an age that is not written with it"
    )
    older = f", and {len(ring.older)} older" if ring.older else ""
    return f"{masker.method}, with key {ring.active.id}, {age}{older}"


def _server_log(database: LoginDatabase) -> str:
    """What PostgreSQL writes to its log in a session of ours; only its administrator can change that."""
    quotes_rows, logs_statements = database.ask(statements.checks.what_the_server_logs)
    problems = []
    if quotes_rows:
        problems.append(
            "an ERROR quotes rows (user_id and masks) there; ALTER ROLE ... SET log_min_messages = 'log' for each "
            "role that logs in"
        )
    if logs_statements:
        problems.append(
            "statements are written there, with message ids, dates, reasons and, of a rotation, masks; turn off "
            "log_statement, log_min_duration_statement and log_min_duration_sample"
        )
    if problems:
        raise _WeakError(f"The log of the server in {database.access.variable}: {'; '.join(problems)}")
    return "no row and no statement is written there, extensions and triggers apart"


def _backup_place(settings: Settings, database: LoginDatabase) -> str:
    store = backup_store(settings)
    place = store.examine()
    manifest = read_manifest(store)
    if manifest is None:
        return f"{place}; no backup yet"
    with database.transaction() as cursor:
        if is_there(cursor, Table.BACKUP):  # else nothing was ever loaded here
            require_own_backup(database, cursor, manifest, take_over=False)
    made = f"{manifest.made_at:%Y-%m-%d %H:%M} UTC"
    return f"{place}; last backup {made}, of {counted(len(manifest.dates), 'date')} of {manifest.database}"


def _redis(settings: Settings) -> str:
    with extra("cluster", needed_by="LOGIN_REDIS_URL"):
        from login_pipeline.instance.celery_config import require_redis
    require_redis(settings.require("redis_url"))
    return "it responds"


def _core_dumps() -> str:
    if program := dump_taker():
        raise _WeakError(
            f"The kernel gives each core dump to {program} at any limit, and a run's has messages and keys in "
            "clear; have it keep none, or change kernel.core_pattern"
        )
    return "off"
