"""Expires rows that are older than LOGIN_RETENTION_DAYS: a date or a month in each transaction, with its entries."""

from collections.abc import Sequence
from datetime import date
from itertools import chain
from typing import NamedTuple

from psycopg2 import extensions

from login_pipeline.errors import DatabaseError
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import Month, drop_month, months_not_owned, months_over
from login_pipeline.postgres.tables import Rights, Table, require

_RIGHTS: Rights = {
    Table.USER_LOGINS: "SELECT DELETE",
    Table.INBOX: "SELECT DELETE",
    Table.LEDGER: "SELECT INSERT UPDATE",
}

NOTHING_EXPIRES = "LOGIN_RETENTION_DAYS is not set, so nothing expires"


class Expired(NamedTuple):
    """What went, or would go: whole dates, and their rows."""

    dates: int
    rows: int


def expire(database: LoginDatabase, *, days: int | None, dry_run: bool = False) -> Expired:
    """Deletes the rows of dates that are over `days` days ago; without `days` nothing.

    Where the table is partitioned by month it drops months, once all of their dates are.

    First all these dates are closed: from then on no message of theirs is loaded, whichever way it comes back. Killed
    anywhere, it goes on the next time.

    Raises:
        ConfigurationError: no database, no table, or the role may not DELETE rows or write the ledger.
        DatabaseError: PostgreSQL refused, or kept rows; the dates before that one stay expired.
    """
    if days is None:
        return Expired(0, 0)
    require_rights(database, days=days)
    if not dry_run:
        database.prepare()  # the ledger of an earlier version refuses the entry
    with database.transaction() as cursor:
        cursor.execute(statements.expiry.dates, {"days": days})
        due = dict(cursor.fetchall())
        months = months_over(cursor, days=days)
    if (due or months) and not dry_run:
        whole = [month.days() for month in months]
        with database.transaction() as cursor:
            cursor.execute(statements.prune.lock)
            cursor.execute(statements.expiry.close, {"date": max([*due, *chain(*whole)])})
        for month in months:
            due |= _expire_month(database, month, days)
        due |= {day: _expire_date(database, day) for day in sorted(due.keys() - chain(*whole))}
    return Expired(len(due), sum(due.values()))


def require_rights(database: LoginDatabase, *, days: int) -> None:
    """Returns when the role may expire rows that are over `days` days ago.

    Raises:
        ConfigurationError: it may not, or there is no database or no table.
    """
    database.require_table()
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
        if others := months_not_owned(cursor, days=days):
            raise database.access.lacks(f"ownership of {', '.join(others)}, of which every date is over")


def is_over(cursor: extensions.cursor, day: date, *, days: int | None) -> bool:
    """Whether the date has expired, or is over `days` days ago."""
    cursor.execute(statements.expiry.is_over, {"date": day, "days": days})
    return bool(cursor.fetchone() == (True,))


def expire_date(cursor: extensions.cursor, day: date) -> int:
    """Deletes the date's rows and counts them in the ledger; returns how many. It does not commit.

    Raises:
        DatabaseError: PostgreSQL kept some.
    """
    cursor.execute(statements.expiry.delete, {"date": day})
    rows = cursor.rowcount
    if left := _count(cursor, [day]):
        raise DatabaseError(
            f"PostgreSQL kept {left[day]} rows of {day} in user_logins, so that date did not expire; disable the "
            "trigger or the rule of the table that keeps them, and try again"
        )
    return rows


def _expire_date(database: LoginDatabase, day: date) -> int:
    with database.transaction() as cursor:
        cursor.execute(statements.ledger.lock_alone)
        cursor.execute(statements.inbox.lock_as_a_load_does)
        return expire_date(cursor, day)


def _expire_month(database: LoginDatabase, month: Month, days: int) -> dict[date, int]:
    """The rows that each date had: counted before the drop locks the table, because no load adds to a closed date."""
    with database.transaction() as cursor:
        cursor.execute(statements.ledger.lock_alone)
        if month not in months_over(cursor, days=days):  # another expiry has dropped it
            return {}
        rows = _count(cursor, month.days())
        drop_month(cursor, month)
    return rows


def _count(cursor: extensions.cursor, days: Sequence[date]) -> dict[date, int]:
    """The rows that each of the dates has, which the ledger no longer expects."""
    cursor.execute(statements.expiry.count, {"dates": days})
    return dict(cursor.fetchall())
