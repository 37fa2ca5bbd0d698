"""Turns what PostgreSQL and its driver raise into one sentence, and says whether another attempt could mend it.

A sentence names SQLSTATE and constraint only: PostgreSQL's DETAIL quotes values.
Source of the codes: PostgreSQL documentation, Appendix A.
"""

import psycopg2
from psycopg2 import errorcodes

from login_pipeline.errors import ConfigurationError, DatabaseError

_OF_A_ROW = {
    errorcodes.CLASS_DATA_EXCEPTION,
    errorcodes.CLASS_INTEGRITY_CONSTRAINT_VIOLATION,
    errorcodes.CLASS_WITH_CHECK_OPTION_VIOLATION,
    errorcodes.CLASS_PL_PGSQL_ERROR,
    errorcodes.CLASS_PROGRAM_LIMIT_EXCEEDED,  # an index of yours on a value that is too long for it
}
_PASSING = {
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.TOO_MANY_CONNECTIONS,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
}
_ADVICE = {
    errorcodes.DISK_FULL: "its disk is full; free some space, the messages stay on the queue meanwhile",
    errorcodes.READ_ONLY_SQL_TRANSACTION: "it takes no writes; name the primary server in LOGIN_DATABASE_URL",
    errorcodes.LOCK_NOT_AVAILABLE: "a table is locked by another session; pg_locks says which",
    errorcodes.QUERY_CANCELED: "it took too long; pg_stat_activity says what it waits for",
}


def refused_row(error: psycopg2.Error) -> str | None:
    """The name of the condition, such as check_violation, where it is about a row; None where it is not."""
    code = error.pgcode
    return errorcodes.lookup(code).lower() if code is not None and code[:2] in _OF_A_ROW else None


def statement_refused(error: psycopg2.Error) -> DatabaseError | ConfigurationError:
    """What to tell a person about a statement that failed."""
    code = error.pgcode
    if code is None:
        return DatabaseError(
            "The connection to the database broke; a load that it cut off may be committed or not, and the inbox knows "
            "which when the messages are delivered again",
            passing=True,
        )
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return ConfigurationError(
            "The role in LOGIN_DATABASE_URL lacks a permission; it needs CREATE on the schema once, then SELECT and "
            "INSERT on user_logins, user_logins_inbox and user_logins_dead_letters, and TEMPORARY on the database"
        )
    name = errorcodes.lookup(code).lower()
    constraint = f", constraint {error.diag.constraint_name}" if error.diag.constraint_name else ""
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    return DatabaseError(
        f"PostgreSQL refused a statement ({name}, SQLSTATE {code}{constraint}){advice}; its transaction is rolled back",
        passing=code in _PASSING or code[:2] == errorcodes.CLASS_CONNECTION_EXCEPTION,
    )


def not_connected(error: psycopg2.OperationalError) -> ConfigurationError:
    """What to tell a person about a connection that was not made, in the words of libpq.

    They name host, port, user and database, never the password.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConfigurationError(
        f"The database in LOGIN_DATABASE_URL cannot be used: {lines[0] if lines else 'no reason given'}; check the "
        "URL, the password and that the server runs",
        passing=True,
    )
