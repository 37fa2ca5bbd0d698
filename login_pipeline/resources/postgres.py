"""The PostgreSQL database that holds user_logins and the inbox."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any, NamedTuple

import dagster as dg
import psycopg2
from psycopg2 import errorcodes, extensions
from pydantic import Field

from login_pipeline.columns import NAMES, USER_LOGINS, declared_type
from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.settings import read_settings
from login_pipeline.sql import statements

PREPARE_SECONDS = 30
"""It takes no time, unless another run is stuck in it."""

_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
"""What COPY's text format gives a meaning. Source: PostgreSQL documentation, COPY, "Text Format"."""

Row = Sequence[object]


class Loaded(NamedTuple):
    """What became of a batch: rows that were inserted, and messages that had their row already."""

    rows: int
    duplicates: int


class LoginDatabaseResource(dg.ConfigurableResource[object]):
    """The database that LOGIN_DATABASE_URL names. The URL is read when a run connects and never shown."""

    connect_timeout: int = Field(default=10, ge=2, le=300, description="Seconds to wait for a connection.")

    def prepare(self) -> None:
        """Creates user_logins and the inbox where they do not exist, and checks their columns.

        Raises:
            ConfigurationError: no database, no permission, or user_logins has other columns.
            DatabaseError: the database refused for another reason.
        """
        with self.transaction() as cursor:
            _limit_time(cursor, PREPARE_SECONDS)
            cursor.execute(statements("inbox")["lock"])
            cursor.execute(statements("user_logins")["encoding"])
            _require(cursor.fetchone() == ("UTF8",), "The database is not encoded in UTF8; make one that is")
            if not self._columns(cursor):
                cursor.execute(statements("user_logins")["create"])
            self._check_columns(cursor)
            cursor.execute(statements("inbox")["exists"])
            if cursor.fetchone() != (True,):
                cursor.execute(statements("inbox")["create"])
                cursor.execute(statements("inbox")["count_rows_before_the_inbox"])
            cursor.execute(statements("inbox")["lacking"])
            lacking = [what for (what,) in cursor.fetchall()]
            _require(not lacking, f"The role in LOGIN_DATABASE_URL lacks {', '.join(lacking)}; grant it")

    def load(self, rows: Iterable[Row], *, seconds: float) -> Loaded:
        """Inserts the rows whose message the inbox does not have yet, and all their keys, in one transaction.

        Args:
            rows: The seven columns in the table's order, and the message_id.
            seconds: How long a statement may take at most; the transaction is rolled back then.

        Raises:
            DatabaseError: nothing was loaded.
        """
        lines = StringIO()
        count = 0
        for row in rows:
            lines.write(copy_line(row))
            count += 1
        lines.seek(0)
        with self.transaction() as cursor:
            _limit_time(cursor, seconds)
            cursor.execute(statements("load")["stage"])
            cursor.copy_expert(statements("load")["copy"], lines)
            cursor.execute(statements("load")["load"])
            loaded = cursor.rowcount
        return Loaded(loaded, count - loaded)

    def ask(self, file: str, name: str) -> tuple[int, ...]:
        """The counts that the query `name` of sql/`file`.sql gives, in one row; raises as `transaction` does."""
        with self.transaction() as cursor:
            cursor.execute(statements(file)[name])
            return cursor.fetchone() or ()

    def columns(self) -> list[tuple[str, str]]:
        """Names and types of user_logins as they are; empty where there is no such table yet."""
        with self.transaction() as cursor:
            return self._columns(cursor)

    def require_table(self) -> None:
        """Returns when user_logins and the inbox are there.

        Raises:
            ConfigurationError: there is none yet, or no database.
        """
        with self.transaction() as cursor:
            cursor.execute(statements("inbox")["exists"])
            there = cursor.fetchone() == (True,) and bool(self._columns(cursor))
        _require(
            there,
            "LOGIN_DATABASE_URL has no user_logins with its inbox yet; `login-pipeline drain` creates them, and "
            "`login-pipeline restore` has them back from a backup",
        )

    def count_rows(self) -> int:
        """How many rows user_logins has; reads the whole table."""
        return self.ask("user_logins", "count")[0]

    def where(self) -> str:
        """Host, port and database that the URL names, without the user and the password."""
        with self.transaction() as cursor:
            parameters = cursor.connection.get_dsn_parameters()
        return f"{parameters.get('host', 'local')}:{parameters.get('port')}/{parameters.get('dbname')}"

    def newest_rows(self, limit: int) -> list[tuple[Any, ...]]:
        """Some of the rows that were inserted last, in the table's columns."""
        with self.transaction() as cursor:
            cursor.execute(statements("user_logins")["newest"], {"limit": limit})
            return cursor.fetchall()

    @contextmanager
    def transaction(self) -> Iterator[extensions.cursor]:
        """A cursor in a transaction of its own: committed at the end, rolled back on any error.

        Raises:
            ConfigurationError: the database cannot be reached or does not let us in.
            DatabaseError: a statement was refused, with SQLSTATE only: PostgreSQL's DETAIL quotes values.
        """
        connection = self._connect()
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise _refused(error) from None
        finally:
            connection.close()

    def _connect(self) -> extensions.connection:
        url = read_settings().require("database_url")
        try:
            return psycopg2.connect(
                url,
                connect_timeout=self.connect_timeout,
                application_name="login-pipeline",
                client_encoding="UTF8",
                keepalives_idle=30,  # a server that is gone is noticed within a minute
                keepalives_interval=10,
                keepalives_count=3,
            )
        except psycopg2.ProgrammingError:
            raise ConfigurationError(
                "LOGIN_DATABASE_URL is not a URL that libpq reads; for example LOGIN_DATABASE_URL="
                "postgresql://loader:password@db.example.com:5432/analytics"
            ) from None
        except psycopg2.OperationalError as error:
            raise ConfigurationError(
                f"The database in LOGIN_DATABASE_URL cannot be used: {_connection_problem(error)}; check the URL, "
                "the password and that the server runs"
            ) from None

    def _columns(self, cursor: extensions.cursor) -> list[tuple[str, str]]:
        cursor.execute(statements("user_logins")["columns"])
        return [(name, type_) for name, type_ in cursor.fetchall()]

    def _check_columns(self, cursor: extensions.cursor) -> None:
        problems = column_problems(self._columns(cursor))
        if problems:
            raise ConfigurationError(
                f"Table user_logins in LOGIN_DATABASE_URL is not the destination: {'; '.join(problems)}; name "
                "another database or schema, or rename that table"
            )


def column_problems(actual: Sequence[tuple[str, str]]) -> list[str]:
    """How the columns of a table differ from the destination's, a phrase each; empty when they are the same."""
    wanted = {column.name: declared_type(column) for column in USER_LOGINS}
    found = dict(actual)
    missing = [f"{name} is missing" for name in wanted if name not in found]
    other = [
        f"{name} is {found[name]}, not {type_}"
        for name, type_ in wanted.items()
        if name in found and found[name] != type_
    ]
    extra = [f"{name} is not one of its columns" for name in found if name not in wanted]
    order = [] if missing or extra or list(found) == NAMES else ["its columns are in another order"]
    return missing + other + extra + order


def _limit_time(cursor: extensions.cursor, seconds: float) -> None:
    cursor.execute(statements("load")["limit_time"], {"milliseconds": max(1, int(seconds * 1000))})  # 0 is no limit


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ConfigurationError(sentence)


def copy_line(row: Row) -> str:
    """The row as a line of COPY's text format, in UTF-8."""
    return "\t".join(r"\N" if value is None else str(value).translate(_ESCAPED) for value in row) + "\n"


def _connection_problem(error: psycopg2.OperationalError) -> str:
    """The words of libpq, which name host, port, user and database, never the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"


def _refused(error: psycopg2.Error) -> DatabaseError | ConfigurationError:
    code = error.pgcode
    if code is None:
        return DatabaseError(
            "The connection to the database broke; a load that it cut off may be committed or not, and the inbox knows "
            "which when the messages are delivered again"
        )
    name = errorcodes.lookup(code).lower()
    constraint = f", constraint {error.diag.constraint_name}" if error.diag.constraint_name else ""
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return ConfigurationError(
            "The role in LOGIN_DATABASE_URL lacks a permission; it needs CREATE on the schema once, then SELECT and "
            "INSERT on user_logins and user_logins_inbox, and TEMPORARY on the database"
        )
    return DatabaseError(
        f"PostgreSQL refused a statement ({name}, SQLSTATE {code}{constraint}); its transaction is rolled back"
    )
