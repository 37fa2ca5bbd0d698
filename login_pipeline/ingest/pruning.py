"""Prunes the inbox, so that it does not grow without limit: of dates whose messages cannot come back."""

from datetime import date
from typing import NamedTuple

from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import add_months
from login_pipeline.postgres.tables import Rights, Table, require

_RIGHTS: Rights = {Table.INBOX: "DELETE", Table.LEDGER: "INSERT UPDATE", Table.DEAD_LETTERS: "DELETE"}


class Pruned(NamedTuple):
    """What was deleted: whole dates, the ids of their messages, and records of dead letters."""

    dates: int
    keys: int
    dead_letters: int


def prune_inbox(database: LoginDatabase, *, days: int) -> Pruned:
    """Deletes the message ids of dates that are over `days` days ago, and were loaded as long ago.

    Where user_logins is partitioned by month it also adds the partitions of the months ahead.

    First each date is closed: from then on no message of it is loaded, whichever way it comes back. Killed
    anywhere, it goes on the next time.

    Raises:
        ConfigurationError: no database, no table, or the role may not write the ledger or DELETE in the inbox.
        DatabaseError: PostgreSQL refused; what was deleted before stays deleted.
    """
    require_rights(database)
    with database.transaction() as cursor:
        add_months(cursor)  # of everything that is done every night, only this does not depend on a setting
        cursor.execute(statements.prune.dates, {"days": days})
        dates = [day for (day,) in cursor.fetchall()]
    keys = sum(_prune_date(database, day) for day in dates)
    with database.transaction() as cursor:
        cursor.execute(statements.prune.prune_dead_letters, {"days": days})
        dead_letters = cursor.rowcount
    return Pruned(len(dates), keys, dead_letters)


def require_rights(database: LoginDatabase) -> None:
    """Returns when the role may delete message ids.

    Raises:
        ConfigurationError: it may not, or there is no database or no table.
    """
    database.require_table()
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)


def _prune_date(database: LoginDatabase, day: date) -> int:
    """How many message ids the date had."""
    with database.transaction() as cursor:
        cursor.execute(statements.prune.lock)
        cursor.execute(statements.prune.close_date, {"create_date": day})
    with database.transaction() as cursor:
        cursor.execute(statements.prune.prune, {"create_date": day})
        (keys,) = cursor.fetchone() or (0,)
    return int(keys)
