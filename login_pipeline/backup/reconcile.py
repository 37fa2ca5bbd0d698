"""What to do about one date that differs from its backup: pure, no I/O.

The rule above all: a row that was loaded after the backup stays, and none is there twice.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

# What the ledger has of one date: rows by entry.
Entries = Mapping[str, int]


class Comparison(NamedTuple):
    """One date as the database has it, held against its backup; in rows and in messages of the inbox.

    `extra_rows` are those that neither the backup has nor a load after it. `keys` are the messages that the inbox has,
    `missing_keys` those in the backup that it lacks. `ledger` has the rows of each entry (ledger.sql),
    `backup_ledger` those in the backup, None where that does not have the date. `rotated`: rows were masked again under
    another key since the backup. `withheld` are rows that it still has of users who were erased since.
    """

    rows: int
    missing_rows: int
    extra_rows: int
    later_keys: int
    later_rows: int
    keys: int
    missing_keys: int
    ledger: Entries
    rotated: bool
    backup_ledger: Entries | None
    withheld: int


class Plan(NamedTuple):
    """What is to be done. `lost`: rows that are expected and that neither the table nor the backup has."""

    add_rows: bool
    remove_extra: bool
    ledger: Entries
    rows_without_key: int
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
    """How to bring rows, inbox and ledger of the date together.

    Extra rows are removed on demand only, and only where every message loaded after the backup has its row:
    elsewhere an extra row may be one of theirs. Without that, rows are not added beside altered ones, which would
    then be there twice: so none are added beside those that were masked again, which look the same.

    The ledger begins as the backup accounts for the date. Of what was counted since, it takes as much as the rows show:
    the inbox may have lost the keys of erased rows, and the backup may have rows that were lost.
    """
    in_backup = found.backup_ledger
    if in_backup is None:  # nothing says that an entry which adds rows is wrong
        in_backup = +Counter(found.ledger)
    backup, ledger = Counter(in_backup), Counter({**in_backup, **found.ledger})
    unknown = max(ledger["before"] - backup["before"], 0)
    known_again = min(max(ledger["pruned"] - backup["pruned"], 0), found.missing_keys)
    erased_before = backup["erased"] - found.withheld
    erased_since = max(erased_before - ledger["erased"], 0)
    lost_since = max(backup["lost"] - ledger["lost"], 0)
    ledger["before"] -= unknown
    ledger["pruned"] -= known_again
    ledger["erased"] = erased_before
    ledger["lost"] += lost_since
    expected = found.keys + found.missing_keys + ledger.total()

    all_later_rows_known = found.later_keys == found.later_rows and ledger["pruned"] <= backup["pruned"]
    remove = replace and found.extra_rows > 0 and all_later_rows_known
    together = found.rows + found.missing_rows - (found.extra_rows if remove else 0)
    room = expected + unknown - erased_since - max(lost_since - found.missing_rows, 0)
    add = not found.extra_rows or (together <= room and (remove or not found.rotated))
    rows = together if add else found.rows

    without_key = min(unknown, max(rows - expected, 0))
    gone = max(expected - rows, 0)
    erased = min(erased_since, gone)
    lost = min(lost_since, gone - erased)
    ledger["before"] += without_key
    ledger["erased"] -= erased
    ledger["lost"] -= lost
    kept = in_backup.keys() | {entry for entry, count in found.ledger.items() if not count}
    entries = {entry: count for entry, count in ledger.items() if count or entry in kept}
    return Plan(add, remove, entries, without_key, gone - erased - lost if add else 0)


def without_keys(ledger: Entries, keys: int) -> Entries:
    """The ledger once so many keys are gone of rows that it takes off: they are no longer expected in any case."""
    left = dict(ledger)
    for entry in ("lost", "erased"):
        back = min(keys, -left.get(entry, 0))
        if back > 0:
            left[entry] += back
            keys -= back
    return left
