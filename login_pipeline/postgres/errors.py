"""Turns what PostgreSQL and its driver raise into one sentence, and says whether another attempt may succeed.

A sentence names SQLSTATE and constraint only: PostgreSQL's DETAIL quotes values.
Source of the codes: PostgreSQL documentation, Appendix A.
"""

import re
from collections.abc import Mapping

import psycopg2
from psycopg2 import errorcodes

from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.postgres.role import Access
from login_pipeline.postgres.session import SilentServerError

NO_PARTITION = "no_partition"
# Conditions that are the table's fault, and what to do. Where only some of the rows meet one, these may be wrong.
OF_THE_TABLE = {
    NO_PARTITION: "create the partition for their create_date, as `login-pipeline prepare` does for the months ahead",
    "insufficient_privilege": "grant the role what it needs, or change the row-level security policy",
}
# Conditions that say themselves that a value of the row is wrong. Source: classes 22 (data exception) and 23 (integrity
# constraint violation). A trigger that raises another one, or leaves a row out, may do so for every row.
OF_THE_ROW = {
    name.lower()
    for name, code in vars(errorcodes).items()
    if name.isupper() and len(code) == 5 and code.startswith(("22", "23"))
}
# Of a statement that PostgreSQL has and this server has not. Where a trigger raises one, the error has a context.
_UNSUPPORTED = {
    errorcodes.FEATURE_NOT_SUPPORTED,
    errorcodes.SYNTAX_ERROR,
    errorcodes.UNDEFINED_FUNCTION,
    errorcodes.UNDEFINED_OBJECT,
    errorcodes.INVALID_COLUMN_REFERENCE,  # ON CONFLICT without a unique index
}
# What of a statement such a server may lack. Only these words of a statement are in a sentence.
FEATURES = ("set_config", "SAVEPOINT", "TRIGGER", "SET CONSTRAINTS", "LOCK TABLE", "TEMPORARY", "COPY", "ON CONFLICT")
# Classes of what is wrong with the server, the session or the table. Anything else a rule for rows can raise.
_NOT_OF_A_ROW = {
    errorcodes.CLASS_FEATURE_NOT_SUPPORTED,
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
_RETRYABLE = {
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.TOO_MANY_CONNECTIONS,
    errorcodes.READ_ONLY_SQL_TRANSACTION,  # a standby, until it is promoted
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    errorcodes.SERIALIZATION_FAILURE,
    errorcodes.DEADLOCK_DETECTED,
}
_ADVICE = {
    errorcodes.DISK_FULL: "its disk is full; free some space, the messages stay on the queue",
    errorcodes.READ_ONLY_SQL_TRANSACTION: "it takes no writes; name the primary server",
    errorcodes.DEPENDENT_OBJECTS_STILL_EXIST: "a view or a key depends on what is to go; drop it",
    errorcodes.LOCK_NOT_AVAILABLE: "a table is locked by another session; pg_locks says which",
    errorcodes.INTERNAL_ERROR: "its log says more; if it is no PostgreSQL, docs/databases.md does",
    errorcodes.QUERY_CANCELED: "it took too long; pg_stat_activity says what it waits for",
}

# Its SQLSTATE 55000 has other causes, too, and its text is translated. Source: PostgreSQL's execReplication.c.
_CHECKS_REPLICA_IDENTITY = "CheckCmdReplicaIdentity"
# Their SQLSTATE is that of any missing permission. Source: PostgreSQL's utils/misc/rls.c and execMain.c.
_CHECK_ROW_SECURITY = {"check_enable_rls", "ExecWithCheckOptions"}


class PasswordRefusedError(ConfigurationError):
    """The server does not accept the user and the password."""


def refused_row(error: psycopg2.Error) -> str | None:
    """The name of the condition, such as check_violation, where it may be about a row; None where it is not.

    A trigger can raise any, also a code of its own; a row-level security policy raises insufficient_privilege.
    PostgreSQL names the table and no constraint where a check_violation is a partition that does not exist.
    """
    code = error.pgcode
    if code is None or (code[:2] in _NOT_OF_A_ROW and code != errorcodes.INSUFFICIENT_PRIVILEGE):
        return None
    if code == errorcodes.CHECK_VIOLATION and error.diag.table_name and not error.diag.constraint_name:
        return NO_PARTITION
    return _condition(code)


def statement_refused(error: psycopg2.Error, access: Access) -> DatabaseError | ConfigurationError:
    """What to tell a person about a statement that failed."""
    code = error.pgcode
    if isinstance(error, SilentServerError):
        return DatabaseError(
            f"The database in {access.variable} has been silent for {error.seconds:.0f} s; a load may be committed or "
            "not, and the inbox knows which when the messages are delivered again"
        )
    if code is None:
        return DatabaseError(
            "The connection to the database broke; a load that it cut off may be committed or not, and the inbox knows "
            "which when the messages are delivered again",
            retryable=True,
        )
    if code == errorcodes.INSUFFICIENT_PRIVILEGE and error.diag.source_function in _CHECK_ROW_SECURITY:
        return ConfigurationError(
            f"Row-level security applies to the role in {access.variable}, and hides rows from it or refuses its own; "
            "give it BYPASSRLS, or turn FORCE ROW LEVEL SECURITY off where it owns the tables"
        )
    if code == errorcodes.INSUFFICIENT_PRIVILEGE:
        return access.lacks("a permission")
    name = _condition(code)
    if code in _UNSUPPORTED and not error.diag.context:
        statement = re.sub("--.*", "", (error.cursor.query or b"").decode()) if error.cursor else ""
        features = " or ".join(each for each in FEATURES if each in statement) or "a statement"
        return access.unfit(f"refuses {features} ({name}, SQLSTATE {code})")
    constraint = f", constraint {error.diag.constraint_name}" if error.diag.constraint_name else ""
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    if refused_row(error) == NO_PARTITION:
        advice = f": {OF_THE_TABLE[NO_PARTITION]}"
    if error.diag.source_function == _CHECKS_REPLICA_IDENTITY:
        advice = (
            ": the database publishes the table, whose rows have no replica identity; run ALTER TABLE user_logins "
            "REPLICA IDENTITY FULL, or for other tables and for partitions what `login-pipeline doctor` says"
        )
    return DatabaseError(
        f"PostgreSQL refused a statement ({name}, SQLSTATE {code}{constraint}){advice}; its transaction is rolled back",
        retryable=code in _RETRYABLE or code[:2] == errorcodes.CLASS_CONNECTION_EXCEPTION,
    )


def _condition(code: str) -> str:
    """PostgreSQL's name for the code, or the code itself: a trigger can raise one of its own."""
    try:
        return errorcodes.lookup(code).lower()
    except KeyError:
        return code


# By what libpq or the server says of a connection that was not made: what is wrong, and what to do. What they say is
# never passed on: it quotes the URL, where a part of the password may have been read as something else.
# Source: libpq's fe-connect.c, fe-secure-openssl.c and fe-auth.c; PostgreSQL's auth.c and postinit.c; PgBouncer's
# client.c and objects.c.
#
# Where one of these is said, other words are beside the point.
_TLS = {
    "certificate verify failed": "no authority that is trusted here signed the server's certificate; name the file of "
    "the one that did with sslrootcert",
    "does not match host name": "the server's certificate is for another host; write the host name that is in it",
    "does not support SSL": "the server does not offer TLS, which sslmode asks for; turn ssl on in its configuration",
    "root certificate": "sslmode asks for a certificate authority, and its file cannot be read; name it with "
    "sslrootcert, or write sslrootcert=system for those of this machine",
    "weak sslmode": "sslrootcert=system needs sslmode=verify-full",
}
# What passes when a server is started or becomes the primary.
_AWAY = {
    "Connection refused": "nobody listens at its host and port; check both, and that the server runs",
    "could not translate host name": "its host name is not known here; check the name and this machine's DNS",
    "timeout expired": "the server does not answer; check host and port, and the firewalls on the way",
    "Connection timed out": "the server does not answer; check host and port, and the firewalls on the way",
    "Network is unreachable": "no network leads to its host; check the host and this machine's network",
    "No route to host": "no network leads to its host; check the host and this machine's network",
    "on socket .* No such file or directory": "no server has its socket in that folder; check both",
    "server closed the connection": "the server ended the connection; its log says why",
    "Connection reset": "the server ended the connection; its log says why",
    "SSL SYSCALL error": "the server ended the connection; its log says why",
    "starting up": "the server is starting; try again in a moment",
    "shutting down": "the server is shutting down; start it again",
    "recovery mode": "the server recovers from a crash; try again in a moment",
    "too many": "the server has as many connections as it may; raise max_connections or the role's limit",
    "connection slots": "the server has as many connections as it may; raise max_connections",
    "no more connections allowed": "PgBouncer has as many connections as it may; raise its max_client_conn",
    "server login has been failing": "PgBouncer does not get into the server; its log says why",
    "session is (not )?read-only|hot standby mode": "no server that it names is what target_session_attrs asks for; "
    "write read-write there, and name the primary server, too",
}
# PostgreSQL's SQLSTATE 28P01, which psycopg2 does not pass on where there is no connection yet; PgBouncer's; RDS's of a
# token. Not of a server that speaks another language: there a password that was just changed fails.
_PASSWORD_REFUSED = "(password|SASL|PAM) authentication failed"  # noqa: S105
# What does not.
_WRONG = {
    "invalid response to SSL negotiation": "what listens there is no PostgreSQL; check host and port",
    _PASSWORD_REFUSED: "the server does not accept the user and the password",
    "no such user": "PgBouncer knows no such user; its auth_file or auth_query names those that it lets in",
    "unsupported startup parameter": "PgBouncer passes no options on; take them out of the URL and of PGOPTIONS, and "
    "have the server set them with ALTER ROLE",
    "no password supplied": "the server asks for a password; give one in the URL, PGPASSWORD or the password file, or "
    "name its place in LOGIN_DATABASE_PASSWORD_SOURCE",
    r"pg_hba\.conf": "no line of the server's pg_hba.conf lets this user in from here, or it asks for TLS",
    "not permitted to log in": "the role may not log in; ALTER ROLE ... LOGIN lets it",
    "(?<!password )(?<!SASL )(?<!PAM )authentication failed": "the server does not let this user in; its pg_hba.conf "
    "says why",
    "permission denied for database": "the role lacks CONNECT on the database; grant it",
    "private key file": "the client's private key cannot be used; check sslkey and the mode of its file",
    "certificate file": "the client's certificate cannot be used; check sslcert",
    "definition of service": "the service that it names is in no pg_service.conf; check service and PGSERVICEFILE",
    "service file": "pg_service.conf cannot be read; check PGSERVICEFILE",
    r'database "[^"]*" does not exist': "the server has no database of that name; create it, or correct the URL",
    r'role "[^"]*" does not exist': "the server has no role of that name; create it, or correct the URL",
}
# libpq names the option, and quotes its value.
_OPTION = re.compile(r'invalid integer value ".*" for connection option "(\w+)"|invalid "?(\w+)"? value: ')


def not_connected(says: str, access: Access) -> ConfigurationError:
    """The sentence about a connection that was not made; `says` is libpq's text, of each host that it tried."""
    wrong = _said(_TLS, says)
    away = [] if wrong else _said(_AWAY, says)
    wrong = wrong or _said(_WRONG, says)
    if option := _OPTION.search(says):
        away = []
        wrong = [f"libpq does not know the value of {option[1] or option[2]}, in the URL or in the environment"]
    because = ", and ".join(dict.fromkeys(away + wrong)) or (
        "libpq or the server gave a reason that is not among those that can be repeated without quoting the URL; "
        "check the URL, the password and the server's log"
    )
    kind = PasswordRefusedError if re.search(_PASSWORD_REFUSED, says) else ConfigurationError
    return kind(f"The database in {access.variable} cannot be used: {because}", retryable=not wrong)


def _said(sentences: Mapping[str, str], says: str) -> list[str]:
    return [sentence for pattern, sentence in sentences.items() if re.search(pattern, says)]
