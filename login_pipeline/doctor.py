"""Examines the settings and what they name, one thing at a time, and changes nothing."""

from collections.abc import Callable
from typing import NamedTuple

from login_pipeline.columns import column_problems
from login_pipeline.errors import LoginPipelineError
from login_pipeline.masking import MaskingMethod
from login_pipeline.resources.masking import NOT_KEYED, MaskingResource
from login_pipeline.resources.masking_keys import masking_keys
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.sqs import LoginQueueResource, few_deliveries
from login_pipeline.resources.sqs_errors import endpoint_in_clear
from login_pipeline.resources.sqs_queue import QueueDepth
from login_pipeline.settings import Settings, read_settings


class Finding(NamedTuple):
    """What was examined, whether all is well with it, and what there is to say."""

    subject: str
    well: bool
    says: str


def examine() -> list[Finding]:
    """One finding for each thing that a run needs; never raises."""
    settings = _examined("settings", lambda: _limits(read_settings()))
    if not settings.well:
        return [settings]
    queue = LoginQueueResource()
    return [
        settings,
        _examined("login queue", lambda: _login_queue(queue)),
        _examined(
            "dead-letter queue",
            lambda: f"{read_settings().require('dead_letter_queue_url')}: {_count(queue.dead_letter_queue.depth())}",
        ),
        _examined("database", _database),
        *_maintenance(read_settings()),
        _examined("masking", _masking),
    ]


def _maintenance(settings: Settings) -> list[Finding]:
    """A host that only runs the pipeline has no such role, and should not."""
    if settings.maintenance_database_url is None:
        return []
    return [_examined("maintenance role", lambda: _protected(LoginDatabaseResource(maintenance=True)))]


def _examined(subject: str, examination: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, True, examination())
    except LoginPipelineError as error:
        return Finding(subject, False, error.sentence)


def _limits(settings: Settings) -> str:
    return (
        f"{settings.batch_size:,} messages a run, {settings.max_concurrent_runs} runs at once, hidden for "
        f"{settings.visibility_timeout} s; region {settings.queue_region or 'as the AWS SDK finds it'}"
    )


def _count(depth: QueueDepth) -> str:
    return f"{depth.visible:,} messages to receive, {depth.in_flight:,} in flight, {depth.delayed:,} delayed"


def _login_queue(queue: LoginQueueResource) -> str:
    says = f"{queue.login_queue.url}: {_count(queue.depth())}"
    if in_clear := endpoint_in_clear(queue.endpoint):
        raise LoginPipelineError(f"{says}. {in_clear}")
    deliveries = queue.login_queue.max_receive_count
    if warning := few_deliveries(deliveries):
        raise LoginPipelineError(f"{says}. {warning}")
    return says if deliveries is None else f"{says}; its redrive policy takes effect after {deliveries} deliveries"


def _database() -> str:
    database = LoginDatabaseResource()
    where = _protected(database)
    columns = database.columns()
    if not columns:
        return f"{where}: no table user_logins yet; `login-pipeline prepare` or the first run creates it"
    problems = column_problems(columns)
    if problems:
        raise LoginPipelineError(f"{where}: table user_logins is not the destination: {'; '.join(problems)}")
    return f"{where}: table user_logins is as it should be"


def _protected(database: LoginDatabaseResource) -> str:
    """Where the database is, and how the way there is protected."""
    protection = database.protection()
    says = f"{database.where()} ({protection.says})"
    if not protection.enough:
        raise LoginPipelineError(f"{says}: add sslmode=verify-full to {database.access.variable}")
    return says


def _masking() -> str:
    masking = MaskingResource()
    masking.masks()
    if masking.method is MaskingMethod.SHA256:
        return NOT_KEYED
    ring = masking_keys()
    older = f", and {len(ring.older)} older" if ring.older else ""
    return f"{masking.method}, with key {ring.active.id}{older}"
