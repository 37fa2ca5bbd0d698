"""Loads one chunk of rows inside a transaction: each row once, and no row costs its neighbours theirs."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from io import BytesIO
from types import NoneType
from typing import Any, NamedTuple

import psycopg2

from login_pipeline.logins.reasons import Reason
from login_pipeline.postgres import statements
from login_pipeline.postgres.errors import refused_row
from login_pipeline.postgres.session import InterruptibleCursor

# The condition of a row that the table takes without an error and does not have: a trigger returned NULL.
SKIPPED_BY_TRIGGER = "skipped_by_trigger"

# If no row is taken and more than this are refused, blame the table, not the rows.
MAX_CREDIBLE_REFUSALS = 20

_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
# What COPY's text format gives a meaning. Source: PostgreSQL documentation, COPY, "Text Format".
_ESCAPED = str.maketrans(_ESCAPES)

Row = Sequence[object]


class Loaded(NamedTuple):
    """What became of the rows: inserted, there already, or refused, by message_id with a reason code.

    `not_tried` are the message_ids that were left when it was plain that the table is wrong; `erased` those that were
    sent before their user was erased.
    """

    rows: int
    duplicates: int
    refused: dict[str, str]
    not_tried: Sequence[str] = ()
    erased: frozenset[str] = frozenset()


def load_rows(
    cursor: InterruptibleCursor,
    rows: Sequence[Row],
    *,
    until: float,
    believed: Collection[str] | None = None,
    erased: Callable[[], frozenset[str]] = frozenset,
) -> Loaded:
    """Inserts the rows whose message the inbox does not have yet, with their message ids. It does not commit.

    Args:
        cursor: In a transaction of its own.
        rows: The seven columns in the table's order, and the message_id.
        until: The time.monotonic() at which the statement under way is cancelled.
        believed: The message_ids whose refusal does not count against the table; None: none does.
        erased: Asked under the lock of the load, the message_ids that get no row.

    Raises:
        psycopg2.Error: the database refused, and not because of a row.
    """
    cursor.limit_time(until - time.monotonic())
    cursor.execute(statements.load.stage)
    left_out = erased()
    rows = [row for row in rows if str(row[-1]) not in left_out] if left_out else rows
    order = sorted(range(len(rows)), key=lambda place: str(rows[place][-1]))  # so that two loads wait, not deadlock
    message_ids = [str(rows[place][-1]) for place in order]
    lines = _lines(rows)
    placed = BytesIO("".join([f"{lines[row]}\t{place}\n" for place, row in enumerate(order)]).encode())
    cursor.copy_expert(statements.load.copy, placed)
    cursor.execute(statements.load.closed)
    closed = {
        message_id: Reason.EXPIRED if expired else Reason.PRUNED
        for message_id, known, expired in cursor.fetchall()
        if not known
    }
    loaded = _insert_all(cursor, message_ids, until, set(message_ids) if believed is None else believed)
    refused = loaded.refused | closed
    not_tried = tuple(message_id for message_id in loaded.not_tried if message_id not in closed)
    duplicates = len(rows) - loaded.rows - len(refused) - len(not_tried)
    return Loaded(loaded.rows, duplicates, refused, not_tried, left_out)


def copy_lines(rows: Iterable[Row]) -> BytesIO:
    """The rows as COPY's text format has them, in UTF-8."""
    return BytesIO("".join([f"{line}\n" for line in _lines(rows)]).encode())


def _lines(rows: Iterable[Row]) -> list[str]:
    """Made column by column, each at a fraction of what its values cost one by one."""
    rows = list(rows)
    columns = [[row[place] for row in rows] for place in range(len(rows[0]) if rows else 0)]
    return list(map("\t".join, zip(*map(_texts, columns), strict=True)))


def _texts(values: Sequence[Any]) -> Sequence[str]:
    """One column's values. Few have a character to escape, so that is asked of all of them at once."""
    types = set(map(type, values))
    texts = values if types == {str} else _written(values, types)
    joined = "".join(texts)
    if any(character in joined for character in _ESCAPES):
        texts = [text.translate(_ESCAPED) for text in texts]
    if NoneType in types:
        texts = [r"\N" if value is None else text for value, text in zip(values, texts, strict=True)]
    return texts


def _written(values: Sequence[Any], types: set[type]) -> list[str]:
    if types <= {int, date}:  # of these there are few different ones, and equal ones are written alike
        known = {value: str(value) for value in set(values)}
        return [known[value] for value in values]
    return list(map(str, values))


def _insert_all(
    cursor: InterruptibleCursor, message_ids: Sequence[str], until: float, believed: Collection[str]
) -> Loaded:
    """Halves what is refused until the rows that are refused stand alone. It does not count duplicates."""
    inserted = against_the_table = 0
    refused: dict[str, str] = {}
    ranges = [(0, len(message_ids))] if message_ids else []
    while ranges and (inserted or against_the_table <= MAX_CREDIBLE_REFUSALS):
        first, end = ranges.pop()
        cursor.limit_time(until - time.monotonic())
        outcome = _insert(cursor, first, end)
        if isinstance(outcome, int):
            inserted += outcome
        elif end - first == 1:
            refused[message_ids[first]] = Reason.REFUSED.of(outcome)
            against_the_table += message_ids[first] not in believed
        else:
            if end - first == len(message_ids):
                cursor.execute(statements.load.index_stage)
            middle = (first + end) // 2
            ranges += [(middle, end), (first, middle)]
    not_tried = tuple(message_id for first, end in ranges for message_id in message_ids[first:end])
    return Loaded(inserted, 0, refused, not_tried)


def _insert(cursor: InterruptibleCursor, first: int, end: int) -> int | str:
    """How many of the rows at these places got in, or the condition with which one of them was refused."""
    cursor.execute("SAVEPOINT insert")
    try:
        cursor.execute(statements.load.load, {"first": first, "end": end})
        keys, rows = cursor.fetchone() or (0, 0)
        condition = None if keys == rows else SKIPPED_BY_TRIGGER
    except psycopg2.Error as error:
        condition = refused_row(error)
        if condition is None:
            raise
    if condition is not None:
        cursor.execute("ROLLBACK TO SAVEPOINT insert")
    cursor.execute("RELEASE SAVEPOINT insert")  # else each would be nested in those before, and slower
    return int(rows) if condition is None else condition
