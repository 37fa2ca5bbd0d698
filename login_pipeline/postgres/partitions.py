"""The monthly partitions of user_logins, where it has them: added ahead of time, and dropped whole."""

from datetime import date, timedelta
from typing import NamedTuple

from psycopg2 import errors, extensions, sql

from login_pipeline.postgres import statements


class Month(NamedTuple):
    """The partition of a month: `first` is its first day, `past` the first day after it."""

    schema: str
    name: str
    first: date
    past: date

    def days(self) -> list[date]:
        """Its dates."""
        return [self.first + timedelta(days=number) for number in range((self.past - self.first).days)]


def is_by_month(cursor: extensions.cursor) -> bool:
    """Whether user_logins is partitioned by month."""
    cursor.execute(statements.partitions.months)
    return cursor.fetchone() is not None


def first_uncovered_date(cursor: extensions.cursor) -> date | None:
    """The first of the next 31 days whose logins have no partition; None where all have one, or need none."""
    cursor.execute(statements.partitions.first_uncovered)
    day: date | None
    (day,) = cursor.fetchone() or (None,)
    return day


def missing_months(cursor: extensions.cursor, *, of: date | None = None) -> list[Month]:
    """The partitions that user_logins lacks; none where it is not partitioned by month.

    Args:
        cursor: Of a transaction.
        of: A date whose month is needed; without it from four weeks ago to the second month from now on.
    """
    cursor.execute(statements.partitions.missing, {"day": of})
    return [Month._make(each) for each in cursor.fetchall()]


def add_months(cursor: extensions.cursor, *, of: date | None = None) -> list[str]:
    """Adds what `missing_months` says, where the role may and no other work is in the way; it does not commit.

    Returns:
        The names of those that it added.
    """
    cursor.execute(statements.partitions.owner)
    found = cursor.fetchone()
    if found is None or not missing_months(cursor, of=of):
        return []
    owner = sql.Identifier(*found)
    cursor.execute("SAVEPOINT add_months")
    try:
        cursor.execute(statements.partitions.lock)
    except errors.LockNotAvailable:
        cursor.execute("ROLLBACK TO SAVEPOINT add_months")
        return []
    months = missing_months(cursor, of=of)  # another process may have added them
    for month in months:
        first, past = sql.Literal(month.first), sql.Literal(month.past)
        add = sql.SQL(statements.partitions.add)
        cursor.execute(add.format(partition=_name(month), owner=owner, first=first, past=past))
    return [month.name for month in months]


def months_over(cursor: extensions.cursor, *, days: int) -> list[Month]:
    """The partitions in which every date is over `days` days ago."""
    cursor.execute(statements.partitions.over, {"days": days})
    return [Month._make(each) for each in cursor.fetchall()]


def months_not_owned(cursor: extensions.cursor, *, days: int) -> list[str]:
    """The names of those in which every date is over `days` days ago, and which the role may not drop."""
    cursor.execute(statements.partitions.not_owned, {"days": days})
    return [name for (name,) in cursor.fetchall()]


def drop_month(cursor: extensions.cursor, month: Month) -> None:
    """Drops the partition with its rows; it does not commit, and should soon: loads wait from now on."""
    cursor.execute(sql.SQL(statements.partitions.drop).format(partition=_name(month)))


def _name(month: Month) -> sql.Identifier:
    return sql.Identifier(month.schema, month.name)
