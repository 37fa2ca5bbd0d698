"""Looks for personal data in clear wherever a run could have left it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg2
from psycopg2 import sql

from login_pipeline_tests.chaos.messages import PERSONAL_DATA

_TABLES = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"


def leaks_in_database(url: str) -> dict[str, int]:
    """Rows with personal data in them, by table; every column of every table is read."""
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            found = {}
            for name in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT each::text FROM {} AS each").format(sql.Identifier(*name)))
                found[".".join(name)] = sum(PERSONAL_DATA.search(text.encode()) is not None for (text,) in cursor)
    finally:
        connection.close()
    return {name: count for name, count in found.items() if count}


def leaks_in_files(folders: Iterable[Path]) -> dict[str, int]:
    """How often personal data is in the files below the folders, by file; binary ones are read, too."""
    found = {str(file): len(PERSONAL_DATA.findall(content)) for file, content in _contents(folders)}
    return {name: count for name, count in found.items() if count}


def _contents(folders: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                try:
                    yield file, file.read_bytes()
                except FileNotFoundError:  # gone since it was listed
                    continue
