"""A fresh database for every run: on our own PostgreSQL, or on one that is given, there a schema if need be."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psutil
import psycopg2
from psycopg2 import errors, extensions, sql

from benchmarks.process_cpu import family_cpu_seconds
from login_pipeline.errors import ConfigurationError
from login_pipeline.local.postgres import LocalPostgres


class Databases(Protocol):
    """Where the rows go."""

    def fresh(self) -> AbstractContextManager[str]:
        """The URL of an empty database; what is in it is forgotten at the end."""

    def cpu_seconds(self) -> float | None:
        """What the server has used so far, all its processes; None where that cannot be seen."""


class OwnDatabases:
    """A PostgreSQL that is started for the benchmark."""

    def __init__(self, folder: Path) -> None:
        self.server = LocalPostgres(folder)
        self._process = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))

    def fresh(self) -> AbstractContextManager[str]:
        """A database of its own."""
        return _own_database(self.server.url("postgres"))

    def cpu_seconds(self) -> float:
        """Of the server and its backends."""
        return family_cpu_seconds(self._process)


class GivenDatabases:
    """A server that somebody else runs. A user_logins that is there is not touched, and not looked at."""

    def __init__(self, url: str) -> None:
        self._url = url
        with self.fresh():  # or it would fail when the first run begins
            pass

    def fresh(self) -> AbstractContextManager[str]:
        """A database of its own where the role may create one, else a schema."""
        return _own_database(self._url) if _may_create_databases(self._url) else _own_schema(self._url)

    def cpu_seconds(self) -> None:
        """Not seen from here."""


def _may_create_databases(url: str) -> bool:
    with _connected(url) as cursor:
        cursor.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
        (may,) = cursor.fetchone() or (False,)
    return bool(may)


@contextmanager
def _own_database(url: str) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex}"
    with _connected(url) as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with _connected(url) as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _own_schema(url: str) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex}"
    with _connected(url) as cursor:
        try:
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        except errors.InsufficientPrivilege:
            raise ConfigurationError(
                "The role of --database-url may create neither a database nor a schema, and the benchmark writes to no "
                "user_logins that it has not made; GRANT CREATE ON DATABASE to it, or give it CREATEDB"
            ) from None
    parts = urlsplit(url)
    options = {**dict(parse_qsl(parts.query)), "options": f"-csearch_path={name}"}
    try:
        yield urlunsplit(parts._replace(query=urlencode(options, quote_via=quote)))
    finally:
        with _connected(url) as cursor:
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@contextmanager
def _connected(url: str) -> Iterator[extensions.cursor]:
    """A cursor whose statements are committed one by one.

    Raises:
        ConfigurationError: nobody lets us in.
    """
    try:
        connection = psycopg2.connect(url, connect_timeout=10)
    except psycopg2.Error:
        raise ConfigurationError(
            "The server in --database-url does not let the benchmark in, or is no PostgreSQL; name one as "
            "postgresql://user:password@host:5432/database"
        ) from None
    connection.autocommit = True
    try:
        yield connection.cursor()
    finally:
        connection.close()
