"""The op that prunes the inbox. It works on the database alone, and makes no asset."""

import dagster as dg

from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.postgres_forget import forget_old_keys
from login_pipeline.settings import read_settings


@dg.op
def prune_inbox(context: dg.OpExecutionContext, database: LoginDatabaseResource) -> None:
    """Forgets the keys of messages that cannot come back any more: those over LOGIN_INBOX_DAYS days old."""
    database.require_table()
    forgotten = forget_old_keys(database, days=read_settings().inbox_days)
    context.add_output_metadata(forgotten._asdict())
