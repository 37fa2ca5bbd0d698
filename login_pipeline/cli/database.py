"""The commands for the table and the tables beside it."""

from contextlib import ExitStack

import click

from login_pipeline.backup.export import back_up
from login_pipeline.backup.identity import read_manifest, require_own_backup
from login_pipeline.backup.restore import restore as restore_tables
from login_pipeline.backup.store import backup_store
from login_pipeline.cli.options import as_json, end
from login_pipeline.cli.output import show, show_checks, show_figures, show_restore
from login_pipeline.errors import LoginPipelineError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.logs.setup import report_warning
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import replication_problem
from login_pipeline.privacy.expiry import NOTHING_EXPIRES
from login_pipeline.privacy.expiry import expire as expire_rows
from login_pipeline.settings import read_settings


@click.command()
@as_json
def check(as_json: bool) -> None:
    """Run the asset checks on the table."""
    from login_pipeline.cli.runs import dagster_instance, run

    LoginDatabase(read_settings()).require_table()
    with dagster_instance() as instance:
        result = run("user_logins_checks_job", instance)
    checks = [each._asdict() for each in result.checks]
    show({"passed": result.passed, "checks": checks}, as_json=as_json, as_text=lambda: show_checks(result.checks))
    end(result.failures, passed=result.passed)


@click.command()
@click.option("--every-date", is_flag=True, help="Write every date again, including those that did not change.")
@click.option("--accept-losses", is_flag=True, help="Record lost rows in the ledger and back up each date as it is.")
@click.option("--take-over", is_flag=True, help="Replace the backup of another database.")
@as_json
def backup(every_date: bool, accept_losses: bool, take_over: bool, as_json: bool) -> None:
    """Back up the table and its inbox to LOGIN_BACKUP_URL."""
    from login_pipeline.cli.runs import dagster_instance, run

    settings = read_settings()
    database, manifest = LoginDatabase(settings), read_manifest(backup_store(settings))
    database.require_table()
    with database.transaction() as cursor:  # a wrong configuration is reported before the run
        require_own_backup(database, cursor, manifest, take_over=take_over)
    config = {"every_date": every_date, "accept_losses": accept_losses, "take_over": take_over}
    with dagster_instance() as instance:
        result = run("user_logins_backup_job", instance, {"ops": {"user_logins_backup": {"config": config}}})
    figures = result.metadata.get("user_logins_backup", {})
    counted = {name: len(value) if name == "damaged" else value for name, value in figures.items()}
    show(figures, as_json=as_json, as_text=lambda: show_figures(counted))
    end(result.failures, passed=result.passed)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done and change nothing.")
@click.option("--replace", is_flag=True, help="Also remove rows that neither the backup nor a later load accounts for.")
@click.option(
    "--drop-lost-keys", is_flag=True, help="Drop from the inbox the ids of messages whose rows are lost for good."
)
@click.option("--take-over", is_flag=True, help="Restore another database's backup into one that is not empty.")
@as_json
def restore(dry_run: bool, replace: bool, drop_lost_keys: bool, take_over: bool, as_json: bool) -> None:
    """Rebuild the table and its inbox from the backup and check them.

    The backup is in LOGIN_BACKUP_URL.
    """
    from login_pipeline.cli.runs import dagster_instance, run

    settings = read_settings()
    database = LoginDatabase(settings, maintenance=True)
    options = {"dry_run": dry_run, "replace": replace, "drop_lost_keys": drop_lost_keys, "take_over": take_over}
    with ExitStack() as stack:
        # Before anything is restored: where it cannot be opened, nothing could say what was.
        instance = None if dry_run else stack.enter_context(dagster_instance())
        restored = restore_tables(database, backup_store(settings), **options)
        checked = run("user_logins_checks_job", instance) if instance else None
    checks, failures = (checked.checks, checked.failures) if checked else ([], [])
    result = {**restored.figures(), "checks": [each._asdict() for each in checks]}
    show(result, as_json=as_json, as_text=lambda: show_restore(restored, checks))
    end([*restored.advice(), *failures], passed=not checked or (checked.passed and restored.complete))


@click.command()
@click.option("--partitioned", is_flag=True, help="Create user_logins with a partition for each month.")
def prepare(partitioned: bool) -> None:
    """Create the tables and grant the roles their rights.

    The roles are those of deploy/postgres/roles.sql. Run it once, and again after an upgrade, as the owner of the
    tables.
    """
    database = LoginDatabase(read_settings(), maintenance=True)
    database.prepare(as_owner=True, partitioned=partitioned)
    with database.transaction() as cursor:
        problem = replication_problem(cursor)
    if problem:
        report_warning(problem, "no_replica_identity")
    click.echo(f"The tables are ready in {database.where()}")


@click.command()
@as_json
def prune(as_json: bool) -> None:
    """Delete from the inbox the ids of messages that cannot come back.

    inbox_pruning_job does the same every night, where the role may.
    """
    settings = read_settings()
    show(prune_inbox(LoginDatabase(settings, maintenance=True), days=settings.inbox_days)._asdict(), as_json=as_json)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count what would expire.")
@as_json
def expire(dry_run: bool, as_json: bool) -> None:
    """Delete the rows of dates older than LOGIN_RETENTION_DAYS.

    Their files in LOGIN_BACKUP_URL go, too. user_logins_expiry_job deletes the rows every night, where the role may.
    """
    settings = read_settings()
    database = LoginDatabase(settings, maintenance=True)
    expired = expire_rows(database, days=settings.retention_days, dry_run=dry_run)
    problem = None
    if expired.dates and settings.backup_url and not dry_run:
        try:
            back_up(database, backup_store(settings))
        except LoginPipelineError as error:
            problem = (
                "The rows have expired, and the backup in LOGIN_BACKUP_URL may still hold them: "
                f"{error.sentence}; then run `login-pipeline backup`"
            )
    note = {} if settings.retention_days else {"note": NOTHING_EXPIRES}
    show({**expired._asdict(), **note}, as_json=as_json)
    end([problem] if problem else [])
