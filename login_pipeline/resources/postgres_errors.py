"""Turns what PostgreSQL and its driver raise into one sentence, and says whether another attempt could mend it.

A sentence names SQLSTATE and constraint only: PostgreSQL's DETAIL quotes values.
Source of the codes: PostgreSQL documentation, Appendix A.
"""

import psycopg2
from psycopg2 import errorcodes

from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.resources.postgres_access import Access

_NOT_OF_A_ROW = {
    errorcodes.CLASS_CONNECTION_EXCEPTION,
    errorcodes.CLASS_INVALID_TRANSACTION_STATE,
    errorcodes.CLASS_INVALID_AUTHORIZATION_SPECIFICATION,
    errorcodes.CLASS_TRANSACTION_ROLLBACK,
    errorcodes.CLASS_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION,
    errorcodes.CLASS_INSUFFICIENT_RESOURCES,
    errorcodes.CLASS_OBJECT_NOT_IN_PREREQUISITE_STATE,
    errorcodes.CLASS_OPERATOR_INTERVENTION,
    errorcodes.CLASS_SYSTEM_ERROR,
    errorcodes.CLASS_INTERNAL_ERROR,
}
"""Classes of what is wrong with the server, the session or the table. Anything else a rule for rows can raise."""
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
    errorcodes.READ_ONLY_SQL_TRANSACTION: "it takes no writes; name the primary server",
    errorcodes.LOCK_NOT_AVAILABLE: "a table is locked by another session; pg_locks says which",
    errorcodes.QUERY_CANCELED: "it took too long; pg_stat_activity says what it waits for",
}


def refused_row(error: psycopg2.Error) -> str | None:
    """The name of the condition, such as check_violation, where it may be about a row; None where it is not.

    A trigger can raise any, also a code of its own; a row-level security policy raises insufficient_privilege.
    """
    code = error.pgcode
    if code is None or (code[:2] in _NOT_OF_A_ROW and code != errorcodes.INSUFFICIENT_PRIVILEGE):
        return None
    return _condition(code)


def statement_refused(error: psycopg2.Error, access: Access) -> DatabaseError | ConfigurationError:
    """What to tell a person about a statement that failed."""
    code = error.pgcode
    if code is None:
        return DatabaseError(
            "The connection to the database broke; a load that it cut off may be committed or not, and the inbox knows "
            "which when the messages are delivered again",
            passing=True,
        )
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return access.lacks("a permission")
    name = _condition(code)
    constraint = f", constraint {error.diag.constraint_name}" if error.diag.constraint_name else ""
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    return DatabaseError(
        f"PostgreSQL refused a statement ({name}, SQLSTATE {code}{constraint}){advice}; its transaction is rolled back",
        passing=code in _PASSING or code[:2] == errorcodes.CLASS_CONNECTION_EXCEPTION,
    )


def _condition(code: str) -> str:
    """PostgreSQL's name for the code, or the code itself: a trigger can raise one of its own."""
    try:
        return errorcodes.lookup(code).lower()
    except KeyError:
        return code


_TLS = {
    "certificate verify failed": "no authority that is trusted here signed the server's certificate; name the file of "
    "the one that did with sslrootcert",
    "does not match host name": "the server's certificate is for another host; write the host name that is in it",
    "does not support SSL": "the server does not offer TLS, which sslmode asks for; turn ssl on in its configuration",
    "root certificate": "sslmode asks for a certificate authority, and its file cannot be read; name it with "
    "sslrootcert, or write sslrootcert=system for those of this machine",
}
"""By what libpq says: what is wrong with TLS, and what to do. Source: PostgreSQL documentation, "SSL Support"."""


def not_connected(error: psycopg2.OperationalError, access: Access) -> ConfigurationError:
    """What to tell a person about a connection that was not made, in the words of libpq where they are not about TLS.

    They name host, port, user and database, never the password.
    """
    for words, sentence in _TLS.items():
        if words in str(error):
            return ConfigurationError(f"The database in {access.variable} cannot be used: {sentence}")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConfigurationError(
        f"The database in {access.variable} cannot be used: {lines[0] if lines else 'no reason given'}; check the "
        "URL, the password and that the server runs",
        passing=True,
    )
