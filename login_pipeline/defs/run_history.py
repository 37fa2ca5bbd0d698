"""Purges Dagster's own storage of finished runs and of the queue's depth as it was observed."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg
from dagster_postgres import PostgresEventLogStorage

from login_pipeline.defs.assets import login_queue
from login_pipeline.defs.failures import as_failure
from login_pipeline.defs.prefix import runs_of
from login_pipeline.postgres import statements
from login_pipeline.settings import read_settings

# The jobs whose runs are purged. Runs of other code in the same Dagster instance are none of our business.
JOBS = (
    "login_job",
    "user_logins_checks_job",
    "inbox_pruning_job",
    "user_logins_expiry_job",
    "user_logins_backup_job",
    "run_history_job",
)
# How many times longer runs are kept that need somebody's attention.
LONGER = 10
DAYS_FACTOR = {
    dg.DagsterRunStatus.SUCCESS: 1,
    dg.DagsterRunStatus.FAILURE: LONGER,
    dg.DagsterRunStatus.CANCELED: LONGER,
}
# So many at once: what reads and writes Dagster's storage beside a purge never waits for long.
RUNS_AT_ONCE = 100
OBSERVATIONS_AT_ONCE = 1000


class Purged(NamedTuple):
    """How many were deleted."""

    runs: int
    observations: int


def purge(instance: dg.DagsterInstance, *, days: int, now: datetime, prefix: Sequence[str] = ()) -> Purged:
    """Deletes finished runs and observations of assets with this prefix that are over `days` days old; see DAYS_FACTOR.

    Each job's newest successful run stays: the sensor counts the failures since, and the UI shows the assets by it.
    What Dagster keeps elsewhere than in PostgreSQL loses its runs only.
    """
    runs = 0
    for job in JOBS:
        for status, factor in DAYS_FACTOR.items():
            before = now - factor * timedelta(days=days)
            old = runs_of(job, prefix, statuses=[status], updated_before=before)
            newest = runs_of(job, prefix, statuses=[dg.DagsterRunStatus.SUCCESS])
            for run_ids in _old_runs(instance, old, newest):
                _execute(instance, statements.dagster.purge_check_results, run_ids=run_ids)
                for run_id in run_ids:
                    instance.delete_run(run_id)
                runs += len(run_ids)
    queue = login_queue.key.with_prefix(prefix)
    return Purged(runs, _purge_observations(instance, queue, now - timedelta(days=days)))


def _old_runs(instance: dg.DagsterInstance, old: dg.RunsFilter, newest: dg.RunsFilter) -> Iterator[list[str]]:
    """The ids of `old` runs, in batches, each of which is to be deleted before the next is read; the newest stays."""
    kept = {record.dagster_run.run_id for record in instance.get_run_records(newest, limit=1)}
    while True:
        records = instance.get_run_records(old, limit=RUNS_AT_ONCE, ascending=True)
        run_ids = [record.dagster_run.run_id for record in records if record.dagster_run.run_id not in kept]
        if not run_ids:
            return
        yield run_ids


def _purge_observations(instance: dg.DagsterInstance, queue: dg.AssetKey, before: datetime) -> int:
    purged = 0
    while deleted := _execute(
        instance,
        statements.dagster.purge_observations,
        asset_key=queue.to_string(),
        before=before.astimezone(UTC).replace(tzinfo=None),  # as Dagster writes it
        limit=OBSERVATIONS_AT_ONCE,
    ):
        purged += deleted
    return purged


def _execute(instance: dg.DagsterInstance, statement: str, **parameters: object) -> int:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return 0
    with storage.index_connection() as connection:
        return connection.exec_driver_sql(statement, parameters).rowcount


def purge_run_history(prefix: Sequence[str]) -> dg.OpDefinition:
    """The op that purges what is kept of runs on assets with this prefix."""

    @dg.op
    @as_failure()
    def purge_run_history(context: dg.OpExecutionContext) -> None:
        """Purges, and says how much."""
        days = read_settings().run_history_days
        context.add_output_metadata(purge(context.instance, days=days, now=datetime.now(UTC), prefix=prefix)._asdict())

    return purge_run_history
