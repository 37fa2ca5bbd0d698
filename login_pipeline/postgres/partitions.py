"""The monthly partitions of user_logins, where it has them: added ahead of time, and dropped whole."""

from datetime import date, timedelta
from typing import NamedTuple

from psycopg2 import extensions, sql

from login_pipeline.postgres import statements


class Month(NamedTuple):
    """The partition of a month: `first` is its first day, `past` the first day after it."""

    name: str
    first: date
    past: date

    def days(self) -> list[date]:
        """Its dates."""
        return [self.first + timedelta(days=number) for number in range((self.past - self.first).days)]


def add_months(cursor: extensions.cursor, *, of: date | None = None) -> list[str]:
    """Adds the partitions that are missing, also where another process adds them; returns their names.

    Where user_logins is not partitioned by month, or is another role's, there are none.

    Args:
        cursor: Of a transaction; it does not commit.
        of: A date whose month is needed; without it from four weeks ago to the second month from now on.
    """
    if _missing(cursor, of):
        cursor.execute(statements.partitions.lock)
    added = _missing(cursor, of)
    for month in added:
        first, past = sql.Literal(month.first), sql.Literal(month.past)
        cursor.execute(
            sql.SQL(statements.partitions.add).format(name=sql.Identifier(month.name), first=first, past=past)
        )
    return [month.name for month in added]


def is_by_month(cursor: extensions.cursor) -> bool:
    """Whether user_logins is partitioned by month."""
    cursor.execute(statements.partitions.months)
    return cursor.fetchone() is not None


def months_over(cursor: extensions.cursor, *, days: int) -> list[Month]:
    """The partitions in which every date is over `days` days ago."""
    cursor.execute(statements.partitions.over, {"days": days})
    return [Month._make(each) for each in cursor.fetchall()]


def drop_month(cursor: extensions.cursor, month: Month) -> None:
    """Drops the partition with its rows; it does not commit, and should soon: loads wait from now on."""
    cursor.execute(sql.SQL(statements.partitions.drop).format(name=sql.Identifier(month.name)))


def _missing(cursor: extensions.cursor, day: date | None) -> list[Month]:
    cursor.execute(statements.partitions.missing, {"day": day})
    return [Month._make(each) for each in cursor.fetchall()]
