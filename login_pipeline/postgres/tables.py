"""Creates the tables, gives the roles of deploy/postgres/roles.sql their rights, and tries if a run could write."""

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from psycopg2 import errors, extensions

from login_pipeline.errors import ConfigurationError
from login_pipeline.logins.columns import column_problems
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import Loaded, load_rows
from login_pipeline.postgres.dead_letters import Letter, record
from login_pipeline.postgres.errors import OF_THE_TABLE
from login_pipeline.postgres.partitions import add_months, is_by_month
from login_pipeline.postgres.role import Access
from login_pipeline.postgres.session import InterruptibleCursor


class Table(StrEnum):
    """The tables, in the order in which they are created.

    A further one is named here, in grants.sql with what each role may do with it, in `without_replica_identity` of
    user_logins.sql where its rows are changed or deleted, and in deploy/postgres/roles.sql.
    """

    USER_LOGINS = "user_logins"
    LEDGER = "user_logins_ledger"
    INBOX = "user_logins_inbox"
    DEAD_LETTERS = "user_logins_dead_letters"
    UNMASKINGS = "user_logins_unmaskings"
    ERASURES = "user_logins_erasures"
    BACKUP = "user_logins_backup"


# What a role needs on each table, such as "SELECT INSERT". TEMPORARY is a right on the database.
Rights = Mapping[Table | Literal["the database"], str]
# What a load needs.
_RIGHTS: Rights = {
    Table.USER_LOGINS: "INSERT SELECT",
    Table.INBOX: "INSERT SELECT",
    Table.LEDGER: "SELECT",
    Table.DEAD_LETTERS: "INSERT SELECT",
    Table.ERASURES: "SELECT",
    "the database": "TEMPORARY",
}
_CREATE: dict[str, str] = {
    Table.USER_LOGINS: statements.user_logins.create,
    Table.LEDGER: statements.ledger.create,
    Table.INBOX: statements.inbox.create,
    Table.DEAD_LETTERS: statements.dead_letters.create,
    Table.UNMASKINGS: statements.unmaskings.create,
    Table.ERASURES: statements.erasures.create,
    Table.BACKUP: statements.backup.create,
}
# It takes no time, unless another run is stuck in it.
PREPARE_SECONDS = 30
# How long to wait before a run for a table that another session has locked.
LOCK_SECONDS = 5.0


def prepare(
    cursor: InterruptibleCursor, access: Access, *, as_owner: bool = False, partitioned: bool = False
) -> list[str]:
    """Creates what tables do not exist; with access for maintenance their owner also gives the roles their rights.

    They also bring a ledger of an earlier version up to date. With `partitioned` user_logins is to have a partition for
    each month; where it has, its owner adds those of the months ahead.

    Returns:
        The tables and partitions that did not exist.

    Raises:
        ConfigurationError: the server takes no writes, a right is missing, user_logins has other columns or is not
            partitioned, or it was to be done as the owner and the tables have another.
        psycopg2.Error: the database refused for another reason.
    """
    cursor.execute(statements.transaction.limit_locks, {"milliseconds": int(LOCK_SECONDS * 1000)})
    _check_server(cursor, access)
    missing = missing_tables(cursor)
    _check_tables(cursor, access, missing)
    create_tables(cursor, missing, partitioned=partitioned)
    cursor.execute(statements.user_logins.not_owned, {"tables": [*Table]})
    not_owned = [table for (table,) in cursor.fetchall()]
    if access.maintenance and not not_owned:
        cursor.execute(statements.ledger.lock_alone)  # two that grant at the same moment would fail
        cursor.execute(statements.ledger.upgrade)
        _grant(cursor)
    elif as_owner:
        raise access.lacks(f"ownership of {', '.join(not_owned)}, and so cannot give others their rights")
    require(cursor, access, _RIGHTS)
    cursor.execute(statements.inbox.other_than_created)
    if other := [what for (what,) in cursor.fetchall()]:
        raise access.lacks(", ".join(other))
    missing += add_months(cursor)
    if partitioned and not is_by_month(cursor):
        raise ConfigurationError(
            f"Table user_logins in {access.variable} exists already, and is not partitioned by month; leave out "
            "--partitioned, or see docs/databases.md for how it becomes so"
        )
    return missing


def rehearse(cursor: InterruptibleCursor, access: Access) -> list[str]:
    """Prepares, loads a row of today and records a dead letter; the caller rolls the transaction back.

    The row is of nobody and new each time, so no other transaction waits for it. A trigger or a constraint that refuses
    it may refuse this row alone, so only what is the table's fault counts.

    Returns:
        The tables and partitions that did not exist.

    Raises:
        ConfigurationError: as `prepare`, or the table takes no rows of today.
        DatabaseError: a dead letter's record is not kept or cannot be read.
        psycopg2.Error: the database refused for another reason.
    """
    missing = prepare(cursor, access)
    name = f"check {uuid.uuid4()}"
    loaded = load_one(cursor, name)
    for refused in loaded.refused.values():
        condition = refused.removeprefix("refused.")
        if remedy := OF_THE_TABLE.get(condition):
            raise ConfigurationError(
                f"Table user_logins in {access.variable} takes no rows of today from this role ({condition}); {remedy}"
            )
    if loaded.duplicates:
        raise access.unfit("takes a message that is new for one that the inbox has")
    record(cursor, {name: Letter(name, "check")})
    return missing


def load_one(cursor: InterruptibleCursor, name: str) -> Loaded:
    """Loads a row of today as a run does, all of whose values and whose message are called `name`."""
    row = (name, name[:32], name, name, None, 0, datetime.now(UTC).date(), name)
    return load_rows(cursor, [row], until=time.monotonic() + PREPARE_SECONDS)


def require(cursor: extensions.cursor, access: Access, needed: Rights) -> None:
    """Returns when the role has every right that is needed.

    Raises:
        ConfigurationError: some are missing; the sentence names them.
    """
    pairs = [(right, on) for on, rights in needed.items() for right in rights.split()]
    rights, objects = (list(each) for each in zip(*pairs, strict=True))
    cursor.execute(statements.user_logins.missing_rights, {"rights": rights, "objects": objects})
    if missing := [what for (what,) in cursor.fetchall()]:
        raise access.lacks(", ".join(missing))


def is_there(cursor: extensions.cursor, table: Table) -> bool:
    """Whether the table exists."""
    return not missing_tables(cursor, [table])


def replication_problem(cursor: extensions.cursor) -> str | None:
    """What to do where a publication keeps rows from being changed and deleted; None where none does."""
    cursor.execute(statements.user_logins.without_replica_identity)
    commands = " ".join(f"ALTER TABLE {table} REPLICA IDENTITY FULL;" for (table,) in cursor.fetchall())
    if not commands:
        return None
    return (
        "The database publishes tables whose rows have no replica identity, so PostgreSQL lets nobody change or "
        f"delete a row there, as `forget` and `keys rotate` do; have the tables' owner run: {commands}"
    )


def columns(cursor: extensions.cursor) -> list[tuple[str, str]]:
    """Names and types of user_logins as they are; empty where there is no such table yet."""
    cursor.execute(statements.user_logins.columns)
    return [(name, type_) for name, type_ in cursor.fetchall()]


def _check_server(cursor: extensions.cursor, access: Access) -> None:
    cursor.execute(statements.user_logins.takes_writes)
    if cursor.fetchone() != (True,):
        raise ConfigurationError(
            f"The database in {access.variable} takes no writes; name the primary server", retryable=True
        )
    cursor.execute(statements.user_logins.encoding)
    if cursor.fetchone() != ("UTF8",):
        raise ConfigurationError("The database is not encoded in UTF8; make one that is")


def missing_tables(cursor: extensions.cursor, tables: Iterable[Table] = Table) -> list[str]:
    """Those of the tables that do not exist, in their order."""
    cursor.execute(statements.user_logins.missing, {"tables": [*tables]})
    return [table for (table,) in cursor.fetchall()]


def create_tables(cursor: extensions.cursor, missing: Sequence[str], *, partitioned: bool = False) -> None:
    """Creates these tables, also where another process is creating them."""
    create = {**_CREATE, Table.USER_LOGINS: statements.partitions.create} if partitioned else _CREATE
    cursor.execute("SAVEPOINT create_tables")
    try:
        for table in missing:
            cursor.execute(create[table])
    except (errors.DuplicateTable, errors.DuplicateObject, errors.UniqueViolation):
        cursor.execute("ROLLBACK TO SAVEPOINT create_tables")
        if missing_tables(cursor):  # else another process has just created them all
            raise


def _check_tables(cursor: extensions.cursor, access: Access, missing: Sequence[str]) -> None:
    if Table.USER_LOGINS not in missing and (problems := column_problems(columns(cursor))):
        raise ConfigurationError(
            f"Table user_logins in {access.variable} is not the destination: {'; '.join(problems)}; name another "
            "database or schema, or rename that table"
        )
    cursor.execute(statements.user_logins.may_create)
    if missing and cursor.fetchone() != (True,):
        raise access.may_not_create(" and no ".join(missing))


def _grant(cursor: extensions.cursor) -> None:
    """To those roles that exist: a database of one role only has none of them."""
    for role, grants in statements.grants.items():
        cursor.execute("SELECT to_regrole(%s) IS NOT NULL", [role])
        if cursor.fetchone() == (True,):
            cursor.execute(grants)
