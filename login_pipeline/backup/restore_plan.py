"""What to do about one date that differs from its backup: pure, no I/O.

The rule above all: a row that was loaded after the backup stays, and none is there twice.
"""

from datetime import date
from typing import NamedTuple


class Comparison(NamedTuple):
    """One date as the database has it, held against its backup; in rows and in keys.

    `counted` is how many rows the keys in the inbox stand for, `missing_counted` those in the backup that it lacks.
    `extra_rows` are those that neither the backup has nor a load after it. `before` are rows that a counter in the
    inbox stands for, because they were there when it was made; `forgotten` the keys that one stands for, because
    they were pruned; `erased` the rows that one takes off, and `withheld` those that the backup still has of users who
    were erased since. `rotated`: rows were masked again under another key since the backup.
    """

    rows: int
    missing_rows: int
    extra_rows: int
    later_keys: int
    later_rows: int
    missing_keys: int
    counted: int
    missing_counted: int
    before: int
    backup_before: int
    forgotten: int
    backup_forgotten: int
    erased: int
    backup_erased: int
    rotated: bool
    withheld: int


class Plan(NamedTuple):
    """What is to be done. `lost`: rows that keys stand for and that neither the table nor the backup has."""

    add_rows: bool
    remove_extra: bool
    before: int
    forgotten: int
    erased: int
    lost: int


class DateRestored(NamedTuple):
    """What was done about one date.

    `rows_that_differ` were left as they are; `rows_without_key` are there and no message is known for them;
    `rows_lost` belong to messages that were loaded after the backup.
    """

    create_date: date | None
    rows_added: int
    keys_added: int
    rows_removed: int
    rows_that_differ: int
    rows_without_key: int
    rows_lost: int
    keys_forgotten: int


def plan(found: Comparison, *, replace: bool) -> Plan:
    """How to bring rows and keys of the date together.

    Extra rows are removed on demand only, and only where every message loaded after the backup has its row:
    elsewhere an extra row may be one of theirs. Without that, rows are not added beside altered ones, which would
    then be there twice: so none are added beside those that were masked again, which cannot be told from them.
    """
    forgotten = found.forgotten - min(max(found.forgotten - found.backup_forgotten, 0), found.missing_keys)
    all_later_rows_known = found.later_keys == found.later_rows and forgotten <= found.backup_forgotten
    remove = replace and found.extra_rows > 0 and all_later_rows_known
    erased = max(found.erased, found.backup_erased + found.withheld)
    counted_as_erased = found.erased or found.backup_erased  # a counter that the inbox lacks is added from the backup
    counted = found.counted + found.missing_counted - (found.forgotten - forgotten) - (erased - counted_as_erased)
    together = found.rows + found.missing_rows - (found.extra_rows if remove else 0)
    add = not found.extra_rows or (together <= counted and (remove or not found.rotated))
    rows = together if add else found.rows
    before = found.before
    if before > found.backup_before:  # the inbox was lost, and all rows that were left were counted
        before = min(before, max(rows - (counted - before), found.backup_before))
    lost = counted - (found.before - before) - rows if add else 0
    return Plan(add, remove, before, forgotten, erased, max(lost, 0))
