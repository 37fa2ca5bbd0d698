"""Every byte of the places where something could have been left, as (place, bytes)."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql

_TABLES = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"

Contents = Iterator[tuple[str, bytes]]


def files(folders: Iterable[Path]) -> Contents:
    """Each file below the folders, or that is named itself, and its name; of Parquet the rows, too."""
    for folder in folders:
        for file in [folder, *folder.rglob("*")]:
            if file.is_file():
                try:
                    yield str(file), str(file).encode()
                    yield str(file), file.read_bytes()
                    if file.suffix == ".parquet":
                        yield str(file), repr(pq.read_table(file).to_pylist()).encode()
                except (FileNotFoundError, PermissionError):  # gone since it was listed, or another account's
                    continue


def rows(url: str) -> Contents:
    """Each row of each table, as PostgreSQL unpacks it."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            for name in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(*name)))
                for row in cursor:
                    yield ".".join(name), b"\n".join(_bytes(value) for value in row)
    finally:
        connection.close()


def _bytes(value: Any) -> bytes:
    if isinstance(value, memoryview):
        return bytes(value)
    return (json.dumps(value) if isinstance(value, dict | list) else str(value)).encode()
