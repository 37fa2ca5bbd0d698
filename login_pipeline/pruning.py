"""Prunes the inbox: an op, and what the command calls. It works on the database alone, and makes no asset."""

import dagster as dg

from login_pipeline.postgres.database import LoginDatabaseResource
from login_pipeline.resources.postgres_forget import Forgotten, forget_old_keys
from login_pipeline.settings import read_settings


def prune(database: LoginDatabaseResource) -> Forgotten:
    """Forgets the keys of messages that cannot come back any more: those over LOGIN_INBOX_DAYS days old.

    Raises:
        ConfigurationError: no database, no table, or the role may not.
        DatabaseError: PostgreSQL refused; what was forgotten before is forgotten.
    """
    database.require_table()
    return forget_old_keys(database, days=read_settings().inbox_days)


@dg.op
def prune_inbox(context: dg.OpExecutionContext, maintenance_database: LoginDatabaseResource) -> None:
    """Prunes the inbox, and says how much."""
    context.add_output_metadata(prune(maintenance_database)._asdict())
