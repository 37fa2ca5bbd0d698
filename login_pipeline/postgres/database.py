"""The PostgreSQL database that holds user_logins, the inbox and the record of dead letters."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import psycopg2
from psycopg2 import extensions

from login_pipeline.database_url import trusting_the_system
from login_pipeline.errors import ConfigurationError
from login_pipeline.logins.reasons import Reason
from login_pipeline.logs.setup import log_c_stderr
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import Loaded, Row, load_rows
from login_pipeline.postgres.credentials import ROTATION_SECONDS, Credentials, Login
from login_pipeline.postgres.dead_letters import STATEMENT_SECONDS, DeadLetterRecord, Letter
from login_pipeline.postgres.erased_logins import erased_among
from login_pipeline.postgres.errors import not_connected, statement_refused
from login_pipeline.postgres.exclusion import try_exclusion
from login_pipeline.postgres.retries import retried
from login_pipeline.postgres.role import Access
from login_pipeline.postgres.session import InterruptibleConnection, InterruptibleCursor, KeptConnection
from login_pipeline.postgres.tables import (
    LOCK_SECONDS,
    PREPARE_SECONDS,
    Table,
    columns,
    is_there,
    missing_tables,
    prepare,
    rehearse,
)
from login_pipeline.settings import Settings
from login_pipeline.transport_security import Protection, protection

# Unless the URL has connect_timeout.
CONNECT_SECONDS = 10
# How long a question about the connection may take.
PROTECTION_SECONDS = 10.0
# How long a statement waits for a lock where its transaction has no limit: longer than a run does before it begins.
MAX_LOCK_SECONDS = 2 * LOCK_SECONDS


class LoginDatabase:
    """The database that LOGIN_DATABASE_URL names, or, with `maintenance`, LOGIN_MAINTENANCE_DATABASE_URL."""

    def __init__(
        self,
        settings: Settings,
        *,
        maintenance: bool = False,
        keep_connection: bool = False,
        rotation_seconds: float = ROTATION_SECONDS,
    ) -> None:
        """Connects to nothing yet.

        Args:
            settings: Where the URLs are.
            maintenance: Connect as the role in LOGIN_MAINTENANCE_DATABASE_URL, where that is set: the one that may
                create, update and delete.
            keep_connection: Check, load and record on one connection, until `close`.
            rotation_seconds: How long to try while no password is accepted: one that is rotated may be nowhere yet.
        """
        # Whose rights it has; what its errors say.
        self.access = Access.from_settings(settings, maintenance=maintenance)
        self.settings = settings
        self._maintenance = maintenance
        self._credentials = Credentials(settings, self.access, rotation_seconds=rotation_seconds)
        self._kept = KeptConnection(self._connect) if keep_connection else None

    def close(self) -> None:
        """Closes the connection that it kept."""
        if self._kept:
            self._kept.close()

    def prepare(self, *, as_owner: bool = False, partitioned: bool = False) -> None:
        """Creates the tables where they do not exist, and checks that the role has the rights that a run needs.

        With `maintenance` their owner also gives the roles of deploy/postgres/roles.sql their rights; with `as_owner`
        it is an error where another role owns them, with `partitioned` where user_logins is not partitioned by month.

        Raises:
            ConfigurationError: no database, no permission, or user_logins has other columns or is not partitioned.
            DatabaseError: the database refused for another reason.
        """
        with self.transaction(seconds=PREPARE_SECONDS) as cursor:
            prepare(cursor, self.access, as_owner=as_owner, partitioned=partitioned)

    def check(self) -> list[str]:
        """Prepares, loads a row and records a dead letter as a run does, in a transaction that is rolled back.

        Returns:
            The tables and partitions that do not exist yet.

        Raises:
            ConfigurationError: as `prepare`, or the table takes no rows of today.
            DatabaseError: the database refused for another reason.
        """
        with self.transaction(seconds=PREPARE_SECONDS) as cursor:
            missing = rehearse(cursor, self.access)
            cursor.connection.rollback()
        return missing

    def check_exclusion(self) -> bool:
        """Tries whether two loads of the same message exclude each other, and commits a load of no rows.

        Returns:
            False where it could not be tried, because the role has one connection only.

        Raises:
            ConfigurationError: they do not.
            DatabaseError: the database refused for another reason.
        """
        with self.transaction(seconds=PREPARE_SECONDS) as cursor:
            tried = try_exclusion(cursor, self.access)
            cursor.connection.rollback()
            load_rows(cursor, [], until=time.monotonic() + PREPARE_SECONDS)
        return tried

    def load(
        self,
        rows: Iterable[Row],
        *,
        seconds: float,
        believed: Collection[str] | None = None,
        sent: Mapping[str, int] | None = None,
    ) -> Loaded:
        """Inserts the rows whose message the inbox does not have yet, and all their message ids, in one transaction.

        Where the connection breaks, the server restarts or another one becomes the primary it is tried again until the
        time is over: the inbox knows what was committed.
        A row that the database refuses is left out, and costs the others nothing. Where it takes none and refuses more
        than MAX_CREDIBLE_REFUSALS the rest is not tried.

        Args:
            rows: The seven columns in the table's order, and the message_id.
            seconds: How long it may take at most.
            believed: The message_ids whose refusal does not count against the table; None: none does.
            sent: When each message was first sent, in milliseconds since the epoch: one of a user who was erased since
                gets no row. Without it all do.

        Raises:
            DatabaseError: nothing was loaded.
            ConfigurationError: the database cannot be reached, or a masking key is not there under which somebody was
                erased.
        """
        batch = list(rows)
        until = time.monotonic() + seconds

        def load() -> Loaded:
            with self.transaction(seconds=until - time.monotonic()) as cursor:
                erased = partial(erased_among, cursor, batch, sent, self.settings) if sent else frozenset
                return load_rows(cursor, batch, until=until, believed=believed, erased=erased)

        return retried(load, seconds=seconds)

    @contextmanager
    def record_dead_letters(self, letters: Mapping[str, Letter]) -> Iterator[DeadLetterRecord]:
        """Records letters that are then sent; what is not committed in the block is undone.

        A crash, or a lost COMMIT, after they are sent leaves them without their records.

        Args:
            letters: By the sqs_message_id of the sending.

        Raises:
            DatabaseError: a record cannot be made or read; at the commit: whether it was done is not known.
            ConfigurationError: the database cannot be reached, or its role has no permission.
        """
        with self.transaction(seconds=STATEMENT_SECONDS) as cursor:
            yield DeadLetterRecord(cursor, letters)
            cursor.connection.rollback()

    def dead_letters_since(self, moment: datetime) -> dict[Reason, int]:
        """How many dead letters were recorded since, by reason, every one; raises as `transaction` does."""
        with self.transaction(seconds=STATEMENT_SECONDS) as cursor:
            counts: dict[str, int] = {}
            if is_there(cursor, Table.DEAD_LETTERS):
                cursor.execute(statements.dead_letters.count_since, {"moment": moment})
                counts = dict(cursor.fetchall())
        return {reason: counts.get(reason, 0) for reason in Reason}

    def loaded_among(self, message_ids: Sequence[str]) -> set[str]:
        """Which of these messages have their row; raises as `transaction` does."""
        with self.transaction() as cursor:
            cursor.execute(statements.inbox.known, {"message_ids": list(message_ids)})
            return {message_id for (message_id,) in cursor.fetchall()}

    def ask(self, query: str, **parameters: object) -> tuple[int, ...]:
        """The counts that the query gives, in one row; raises as `transaction` does."""
        with self.transaction() as cursor:
            cursor.execute(query, parameters or None)
            return cursor.fetchone() or ()

    def columns(self) -> list[tuple[str, str]]:
        """Names and types of user_logins as they are; empty where there is no such table yet."""
        with self.transaction() as cursor:
            return columns(cursor)

    def require_table(self) -> None:
        """Returns when user_logins and the tables beside it are there.

        Raises:
            ConfigurationError: there is none yet, or no database.
        """
        with self.transaction() as cursor:
            missing = missing_tables(cursor)
        if missing:
            raise ConfigurationError(
                f"{self.access.variable} has not all of user_logins and the tables beside it yet; `login-pipeline "
                "prepare` creates what is missing, and `login-pipeline restore` brings it back from a backup"
            )

    def count_rows(self) -> int:
        """How many rows user_logins has; reads the whole table."""
        return self.ask(statements.user_logins.count_rows)[0]

    def where(self) -> str:
        """Host, port and database that the URL names, without the user and the password."""
        with self.transaction() as cursor:
            return cursor.connection.address()

    def protection(self) -> Protection:
        """How the connection, a run's own in a run, is protected; raises as `transaction` does."""
        with self.transaction(seconds=PROTECTION_SECONDS) as cursor:
            return protection(cursor.connection.info)

    def newest_rows(self, limit: int) -> list[tuple[Any, ...]]:
        """Some of the rows that were inserted last, in the table's columns."""
        with self.transaction() as cursor:
            cursor.execute(statements.user_logins.newest, {"limit": limit})
            return cursor.fetchall()

    @contextmanager
    def transaction(self, *, seconds: float | None = None, snapshot: bool = False) -> Iterator[InterruptibleCursor]:
        """A cursor in a transaction of its own: committed at the end, rolled back on any error, ended by a signal.

        Args:
            seconds: How long it may take; without it as long as it needs, and waits at most 10 s for a lock.
            snapshot: It only reads, and every query sees the tables as they were at one moment: that of `begin`, which
                is the caller's then.

        Raises:
            ConfigurationError: the database cannot be reached or does not let us in.
            DatabaseError: a statement was refused, with SQLSTATE only: PostgreSQL's DETAIL quotes values; or the server
                is silent, and whether the transaction was committed is not known.
        """
        # What set_session does to a connection would stay.
        keeps = self._kept if not snapshot else None
        with keeps.lend() if keeps else closing(self._connect()) as connection:
            connection.until = None if seconds is None else time.monotonic() + seconds
            if snapshot:
                connection.set_session(extensions.ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            try:
                with connection.cursor(cursor_factory=InterruptibleCursor) as cursor:
                    self._begin(cursor, seconds, snapshot=snapshot)
                    yield cursor
                connection.commit()
            except BaseException as error:
                connection.until = time.monotonic()
                # The first error counts. A RuntimeError: at Python's end no thread takes work.
                with suppress(psycopg2.Error, RuntimeError):
                    connection.rollback()
                if isinstance(error, psycopg2.Error):
                    raise statement_refused(error, self.access) from None
                raise

    def _begin(self, cursor: InterruptibleCursor, seconds: float | None, *, snapshot: bool) -> None:
        if not snapshot:  # this query would take it before the caller has the locks
            cursor.begin()
        if self._maintenance:
            cursor.execute(statements.transaction.see_all_rows)
        if seconds is None:
            cursor.execute(statements.transaction.limit_locks, {"milliseconds": int(MAX_LOCK_SECONDS * 1000)})
        else:
            cursor.limit_time(seconds)

    def _connect(self) -> InterruptibleConnection:
        return self._credentials.log_in(self._connect_with)

    def _connect_with(self, login: Login) -> InterruptibleConnection:
        url = self.settings.require(self.access.setting)
        parameters = extensions.parse_dsn(url)
        try:
            connection: InterruptibleConnection = psycopg2.connect(
                extensions.make_dsn(url, **trusting_the_system(parameters), **login),
                connection_factory=InterruptibleConnection,
                connect_timeout=parameters.get("connect_timeout", CONNECT_SECONDS),
                application_name="login-pipeline",
                client_encoding="UTF8",
                keepalives_idle=30,  # a server that is gone is noticed within a minute
                keepalives_interval=10,
                keepalives_count=3,
            )
        except (psycopg2.OperationalError, UnicodeDecodeError) as error:  # the latter: a server that speaks Latin-1
            raise not_connected(str(error), self.access) from None
        finally:
            log_c_stderr()
        connection.connect = self._connect
        connection.set_isolation_level(
            extensions.ISOLATION_LEVEL_READ_COMMITTED
        )  # even if the database has another default
        return connection
