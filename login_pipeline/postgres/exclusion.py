"""Tries on two connections whether two loads exclude each other, which no error of a single one would show."""

import time
import uuid
from collections.abc import Callable
from contextlib import closing
from functools import partial

from psycopg2 import errors

from login_pipeline.errors import ConfigurationError
from login_pipeline.postgres import statements
from login_pipeline.postgres.role import Access
from login_pipeline.postgres.session import InterruptibleCursor, SilentServerError
from login_pipeline.postgres.tables import load_one

# How long the second connection waits for what the first one has.
WAIT_SECONDS = 0.02


def try_exclusion(first: InterruptibleCursor, access: Access) -> bool:
    """Holds a lock and loads a row, and tries both on a second connection; the caller rolls the transaction back.

    Returns:
        False where there is no second connection, such as for a role with CONNECTION LIMIT 1.

    Raises:
        ConfigurationError: the second connection got one of them.
        psycopg2.Error: the database refused for another reason.
    """
    name = f"check {uuid.uuid4()}"
    first.execute(statements.exclusion.may_lock)
    if may_lock := first.fetchone() == (True,):
        first.execute(statements.exclusion.hold)
    loaded = load_one(first, name).rows  # none where a constraint of yours refuses this row
    try:
        connection = first.connection.connect()
    except ConfigurationError:
        return False
    with closing(connection), connection.cursor(cursor_factory=InterruptibleCursor) as second:
        connection.until = time.monotonic()
        try:
            second.execute(statements.transaction.limit_locks, {"milliseconds": int(WAIT_SECONDS * 1000)})
        except SilentServerError:  # a pooler has one connection for both
            return False
        connection.until = first.connection.until
        if may_lock and _gets(second, partial(second.execute, statements.exclusion.take)):
            raise access.unfit("gives two connections table locks that exclude each other")
        if loaded and _gets(second, partial(load_one, second, name)):
            raise access.unfit("lets two connections load the same message at the same time")
    return True


def _gets(cursor: InterruptibleCursor, attempt: Callable[[], object]) -> bool:
    cursor.execute("SAVEPOINT attempt")
    try:
        attempt()
    except errors.LockNotAvailable:
        cursor.execute("ROLLBACK TO SAVEPOINT attempt")
        return False
    return True
