"""The jobs: one drains a batch, the others look after the table and the inbox; and their schedules."""

from collections.abc import Sequence
from contextlib import suppress

import dagster as dg

from login_pipeline.defs.assets import LOGIN_JOB_ASSETS, user_logins_table
from login_pipeline.defs.failures import as_failure
from login_pipeline.defs.prefix import run_tags
from login_pipeline.defs.resources import LoginDatabaseResource
from login_pipeline.defs.run_history import purge_run_history
from login_pipeline.errors import LoginPipelineError
from login_pipeline.ingest import pruning
from login_pipeline.privacy import expiry
from login_pipeline.settings import read_load_settings, read_settings

_SETTINGS = read_load_settings()

LOGIN_JOB = "login_job"


@dg.op
@as_failure()
def prune_inbox(context: dg.OpExecutionContext, login_maintenance_postgres: LoginDatabaseResource) -> None:
    """Prunes the inbox, and says how much."""
    pruned = pruning.prune_inbox(login_maintenance_postgres.database, days=read_settings().inbox_days)
    context.add_output_metadata(pruned._asdict())


@dg.op
@as_failure()
def expire_rows(context: dg.OpExecutionContext, login_maintenance_postgres: LoginDatabaseResource) -> None:
    """Expires rows, and says how many."""
    expired = expiry.expire(login_maintenance_postgres.database, days=read_settings().retention_days)
    context.add_output_metadata(expired._asdict())


def login_jobs(prefix: Sequence[str] = ()) -> dg.Definitions:
    """The jobs on assets with this prefix. Each brings its executor: other code may have another one as its default."""
    tags, executor = run_tags(prefix), dg.in_process_executor
    raw, masked, quarantined, table = (asset.key.with_prefix(prefix) for asset in LOGIN_JOB_ASSETS)

    login_job = dg.define_asset_job(
        LOGIN_JOB,
        selection=dg.AssetSelection.assets(raw, masked, quarantined) | dg.AssetSelection.assets(table).without_checks(),
        description="Drains one batch of the queue into user_logins.",
        # Once its messages are visible to other runs again, a run has nothing left to do.
        tags={**tags, dg.MAX_RUNTIME_SECONDS_TAG: str(_SETTINGS.visibility_timeout)},
        executor_def=executor,
    )

    user_logins_checks_job = dg.define_asset_job(
        "user_logins_checks_job",
        selection=dg.AssetSelection.checks_for_assets(table),
        description="Checks all of user_logins. It reads the whole table, so login_job leaves it out.",
        tags=tags,
        executor_def=executor,
    )

    @dg.job(
        description="Deletes from the inbox the ids of messages that cannot come back.",
        tags=tags,
        executor_def=executor,
    )
    def inbox_pruning_job() -> None:
        """One step, on the database alone."""
        prune_inbox()

    @dg.job(
        description="Deletes the rows of dates that are older than LOGIN_RETENTION_DAYS.",
        tags=tags,
        executor_def=executor,
    )
    def user_logins_expiry_job() -> None:
        """One step, on the database alone; the next backup removes their files."""
        expire_rows()

    @dg.job(
        description="Deletes what Dagster keeps of runs and observations that are older than LOGIN_RUN_HISTORY_DAYS.",
        tags=tags,
        executor_def=executor,
    )
    def run_history_job() -> None:
        """One step, on Dagster's storage alone."""
        purge_run_history(prefix)()

    return dg.Definitions(
        jobs=[login_job, user_logins_checks_job, inbox_pruning_job, user_logins_expiry_job, run_history_job]
    )


WITH_THE_SENSOR = dg.DefaultScheduleStatus.RUNNING if _SETTINGS.sensor_enabled else dg.DefaultScheduleStatus.STOPPED


def user_logins_checks_schedule(prefix: Sequence[str] = ()) -> dg.ScheduleDefinition:
    """The schedule that checks the table, whose asset has this prefix."""
    table = user_logins_table.key.with_prefix(prefix)

    @dg.schedule(
        job_name="user_logins_checks_job",
        cron_schedule="17 * * * *",
        default_status=WITH_THE_SENSOR,
        description="Checks the table every hour, from the first run of login_job on.",
    )
    def user_logins_checks_schedule(
        context: dg.ScheduleEvaluationContext, login_postgres: LoginDatabaseResource
    ) -> dg.RunRequest | dg.SkipReason:
        """Skips where there is no table yet. A table that is gone after the first run is a failure."""
        if context.instance.get_latest_materialization_event(table) is None:
            with suppress(LoginPipelineError):  # the run says it
                if not login_postgres.database.columns():
                    return dg.SkipReason("There is no table user_logins yet; the first run of login_job creates it")
        return dg.RunRequest()

    return user_logins_checks_schedule


@dg.schedule(
    job_name="inbox_pruning_job",
    cron_schedule="43 3 * * *",
    default_status=WITH_THE_SENSOR,
    description="Prunes the inbox every night, where the role may; elsewhere `login-pipeline prune` has to.",
)
def inbox_pruning_schedule(login_maintenance_postgres: LoginDatabaseResource) -> dg.RunRequest | dg.SkipReason:
    """Skips, with the reason, where the role may not."""
    try:
        pruning.require_rights(login_maintenance_postgres.database)
    except LoginPipelineError as error:
        return dg.SkipReason(error.sentence)
    return dg.RunRequest()


@dg.schedule(
    job_name="user_logins_expiry_job",
    cron_schedule="11 2 * * *",  # before the backup
    default_status=WITH_THE_SENSOR,
    description="Expires rows every night, in UTC, where LOGIN_RETENTION_DAYS is set and the role may; elsewhere "
    "`login-pipeline expire` has to.",
)
def user_logins_expiry_schedule(login_maintenance_postgres: LoginDatabaseResource) -> dg.RunRequest | dg.SkipReason:
    """Skips, with the reason, where nothing expires or the role may not."""
    try:
        if (days := read_settings().retention_days) is None:
            return dg.SkipReason(expiry.NOTHING_EXPIRES)
        expiry.require_rights(login_maintenance_postgres.database, days=days)
    except LoginPipelineError as error:
        return dg.SkipReason(error.sentence)
    return dg.RunRequest()


run_history_schedule = dg.ScheduleDefinition(
    name="run_history_schedule",
    job_name="run_history_job",
    cron_schedule="13 4 * * *",
    default_status=WITH_THE_SENSOR,
    description="Purges Dagster's storage every night.",
)
