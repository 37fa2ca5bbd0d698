"""The asset user_logins_backup, its job and its schedule."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import dagster as dg
from pydantic import Field

from login_pipeline.backup.export import back_up
from login_pipeline.backup.store import backup_store
from login_pipeline.defs.assets import GROUP, OWNERS, table_schema
from login_pipeline.defs.failures import as_failure
from login_pipeline.defs.jobs import WITH_THE_SENSOR
from login_pipeline.defs.prefix import run_tags
from login_pipeline.defs.resources import LoginDatabaseResource
from login_pipeline.errors import LoginPipelineError
from login_pipeline.settings import read_settings

BACKUP_JOB = "user_logins_backup_job"


class BackupConfig(dg.Config):
    """What one backup does otherwise than every day."""

    every_date: bool = Field(default=False, description="Write every date again, also those that did not change.")
    accept_losses: bool = Field(
        default=False, description="Count in the ledger what rows are lost, and back dates up as they are."
    )
    take_over: bool = Field(default=False, description="Replace the backup of another database.")


@dg.asset(
    deps=["user_logins_table"],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    metadata={"dagster/column_schema": table_schema()},
    output_required=False,
)
def user_logins_backup(
    context: dg.AssetExecutionContext, config: BackupConfig, login_postgres: LoginDatabaseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """The rows of user_logins and of its inbox as Parquet files in LOGIN_BACKUP_URL, a pair for each date.

    The records of erasures and unmaskings are a file each. All are of one moment, or of an earlier one where a date did
    not change. The manifest, which has the ledger, is put in place last: one that is cut off leaves the last as
    it was. `login-pipeline restore` reads it.
    """
    started = time.monotonic()
    with as_failure():
        settings = read_settings()
        if settings.backup_url is None and context.job_name != BACKUP_JOB:
            context.log.warning("LOGIN_BACKUP_URL is not set, so nothing is backed up")
            return
        done = back_up(login_postgres.database, backup_store(settings), **config.model_dump())
    yield dg.MaterializeResult(
        metadata={
            **done._asdict(),
            "seconds": round(time.monotonic() - started, 3),
        }
    )


def backup_job(prefix: Sequence[str] = ()) -> dg.Definitions:
    """The job that makes the backup, whose asset has this prefix."""
    job = dg.define_asset_job(
        BACKUP_JOB,
        selection=dg.AssetSelection.assets(user_logins_backup.key.with_prefix(prefix)),
        description="Backs up user_logins and its inbox; only the dates that changed.",
        tags=run_tags(prefix),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(jobs=[job])


@dg.schedule(
    job_name=BACKUP_JOB,
    cron_schedule="41 2 * * *",
    default_status=WITH_THE_SENSOR,
    description="Backs up every night, in UTC, where LOGIN_BACKUP_URL is set.",
)
def user_logins_backup_schedule() -> dg.RunRequest | dg.SkipReason:
    """Skips where LOGIN_BACKUP_URL is not set."""
    with suppress(LoginPipelineError):  # the run says it
        if read_settings().backup_url is None:
            return dg.SkipReason("LOGIN_BACKUP_URL is not set, so nothing is backed up")
    return dg.RunRequest()
