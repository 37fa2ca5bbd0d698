"""The audit tables, which hold no user_id: each is one file of a backup, and a restore adds what they lack first.

Their records are never changed, so the records of a backup and those of a database can always be put together.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
from psycopg2 import extensions, sql

from login_pipeline.backup.manifest import BackupFile
from login_pipeline.backup.parquet import ROW_GROUP, column_names, open_verified, put_rows, read_rows
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import BackupError
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import copy_lines
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import Table

AUDIT_TABLES = (Table.ERASURES, Table.UNMASKINGS)

# PostgreSQL's name of a type, and Arrow's type, by the oid. Source: PostgreSQL, src/include/catalog/pg_type.dat.
_TYPES = {
    16: ("boolean", pa.bool_()),
    20: ("bigint", pa.int64()),
    23: ("integer", pa.int32()),
    25: ("text", pa.string()),
    1043: ("varchar", pa.string()),
    1082: ("date", pa.date32()),
    1184: ("timestamptz", pa.timestamp("us", tz="UTC")),
}


def back_up_audit(
    cursor: InterruptibleCursor, store: BackupStore, kept: Mapping[str, BackupFile], *, accept_losses: bool
) -> tuple[dict[str, BackupFile], dict[str, str]]:
    """The file of each table, those of `kept` where they are up to date; and why a table looks damaged, if one does.

    A damaged table keeps the file that it has: it has the records that the table lost.

    Raises:
        BackupError: a column has a type that no file holds.
    """
    files: dict[str, BackupFile] = {}
    damaged: dict[str, str] = {}
    for table in AUDIT_TABLES:
        _execute(cursor, statements.audit.state, table=table)
        count, content = cursor.fetchone() or (0, "0")
        last = kept.get(table)
        if last is not None and last.content != content and last.count >= count and not accept_losses:
            lost = last.count - count
            damaged[table] = f"{lost} records fewer than in the backup" if lost else "records were altered"
        if last is not None and (table in damaged or last.content == content):
            files[table] = last
        else:
            files[table] = put_rows(store, table, *_records(cursor, table), content)
    return files, damaged


def restore_audit(cursor: extensions.cursor, store: BackupStore, files: Mapping[str, BackupFile]) -> int:
    """Adds the records that the tables lack; returns how many."""
    added = 0
    for table, file in files.items():
        staged = f"backup_{table}"
        _execute(cursor, statements.audit.stage, table=table, staged=staged)
        with open_verified(store, file) as stored:
            columns = sql.SQL(", ").join(map(sql.Identifier, column_names(stored)))
            copy = sql.SQL(statements.audit.copy).format(staged=sql.Identifier(staged), columns=columns)
            for records in read_rows(stored):
                cursor.copy_expert(copy, copy_lines(records))
        _execute(cursor, statements.audit.add, table=table, staged=staged)
        added += cursor.rowcount
    return added


def erasures_in_backup(store: BackupStore, files: Mapping[str, BackupFile]) -> frozenset[tuple[datetime, str]]:
    """When and whom: the erasures whose proofs the backup has."""
    with open_verified(store, files[Table.ERASURES]) as stored:
        names = column_names(stored)
        moment, subject = names.index("erased_at"), names.index("subject")
        return frozenset((record[moment], record[subject]) for records in read_rows(stored) for record in records)


def _records(cursor: InterruptibleCursor, table: str) -> tuple[pa.Schema, Iterator[tuple[Any, ...]]]:
    """The table's columns and records; they are fetched from the server bit by bit."""
    _execute(cursor, statements.audit.columns, table=table)
    fields = []
    for column in cursor.description or ():
        if column.type_code not in _TYPES:
            raise BackupError(
                f"Column {column.name} of {table} has a type that a backup does not hold, so nothing was backed up; "
                f"make it one of {', '.join(name for name, _ in _TYPES.values())}"
            )
        fields.append(pa.field(column.name, _TYPES[column.type_code][1]))
    records = sql.SQL(statements.audit.records).format(table=sql.Identifier(table))
    return pa.schema(fields), cursor.stream(records, rows=ROW_GROUP)


def _execute(cursor: extensions.cursor, statement: str, **names: str) -> None:
    identifiers = {role: sql.Identifier(each) for role, each in names.items()}
    cursor.execute(sql.SQL(statement).format(**identifiers))
