"""Erases a user from user_logins, and keeps proof of it that only the holder of the masking keys can read.

The user_id itself is stored nowhere, and is in no statement that a server could log.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2 import extensions

from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import KeyRing, MaskingKey
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import Rights, Table, is_there, require
from login_pipeline.privacy.request import check_reason, check_user_id, name_user, subject, tokens
from login_pipeline.settings import Settings

_RIGHTS: Rights = {
    Table.USER_LOGINS: "SELECT DELETE",
    Table.INBOX: "INSERT",
    Table.LEDGER: "SELECT INSERT UPDATE",
    Table.ERASURES: "SELECT INSERT",
    "the database": "TEMPORARY",
}


class Erasure(NamedTuple):
    """The proof of one erasure; in the order of erasures.sql."""

    erased_at: datetime
    erased_by: str
    subject: str
    rows: int
    dates: int
    reason: str

    def figures(self) -> dict[str, Any]:
        """By name, for JSON and for people."""
        return {**self._asdict(), "erased_at": self.erased_at.isoformat()}


class ErasedUsers:
    """Knows the rows of users who were erased since some moment."""

    def __init__(self, subjects: frozenset[str], keys: Iterable[MaskingKey]) -> None:
        self._subjects = subjects
        self._tokens = [tokens(key) for key in keys]

    def without(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The rows, whose first column is the user_id, of everybody else."""
        return [row for row in rows if row[0] is None or not self._has(row[0])]

    def _has(self, user_id: str) -> bool:
        return any(token(user_id) in self._subjects for token in self._tokens)


def erase(database: LoginDatabase, user_id: str, reason: str, operator: str, *, allow_none: bool = False) -> Erasure:
    """Deletes every row of the user, and records it, in one transaction.

    A user without any row is recorded with `allow_none`, or where an erasure of theirs is recorded already.

    Memory does not grow with the rows. A row that is loaded at the same time stays, as any later login does.

    Raises:
        ConfigurationError: no database or no masking key, the role lacks a right, or what was given cannot be.
        DatabaseError: PostgreSQL refused, or kept some of the rows; nothing was erased.
    """
    check_user_id(user_id)
    check_reason(reason, user_id)
    keys = _proof_keys(database.settings)
    database.require_table()
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
        cursor.execute(statements.ledger.lock_alone)
        cursor.execute(statements.inbox.lock_as_a_load_does)
        name_user(cursor, user_id)
        cursor.execute(statements.erasures.erase)
        rows, dates, present = cursor.fetchone() or (0, 0, 0)
        if rows != present:
            raise DatabaseError(
                f"PostgreSQL kept {present - rows} of the user's {present} rows in user_logins, so nothing was erased "
                "or recorded; disable the trigger or the rule of the table that keeps them, and try again"
            )
        if not rows:
            _check_absent(cursor, user_id, keys, allow_none=allow_none)
        proof = {"subject": subject(keys.active, user_id), "rows": rows, "dates": dates, "reason": reason}
        cursor.execute(statements.erasures.record, {**proof, "operator": operator})
        return Erasure(*(cursor.fetchone() or ()))


def count_rows_of(database: LoginDatabase, user_id: str) -> tuple[int, int]:
    """How many rows the user has, of how many dates; raises as `erase`."""
    check_user_id(user_id)
    _proof_keys(database.settings)  # for its error: without a key an erasure would fail, too
    database.require_table()
    with database.transaction() as cursor:
        name_user(cursor, user_id)
        cursor.execute(statements.erasures.count_rows)
        rows, dates = cursor.fetchone() or (0, 0)
    return rows, dates


def proofs(database: LoginDatabase, user_id: str) -> list[Erasure]:
    """The recorded erasures of the user, under any of the masking keys; raises as `erase`."""
    check_user_id(user_id)
    subjects = [subject(key, user_id) for key in _proof_keys(database.settings)]
    with database.transaction() as cursor:
        return [Erasure(*row) for row in _recorded(cursor, statements.erasures.proofs, subjects=subjects)]


def last_erasure(cursor: extensions.cursor) -> datetime | None:
    """When the last erasure that this transaction can see was made; None where there is none."""
    return next((moment for (moment,) in _recorded(cursor, statements.erasures.last)), None)


def all_erasures(cursor: extensions.cursor) -> frozenset[tuple[datetime, str]]:
    """When and whom, by their tokens."""
    return frozenset(_recorded(cursor, statements.erasures.all))


def erased_since(
    cursor: extensions.cursor, settings: Settings, moment: datetime | None, also: frozenset[str] = frozenset()
) -> ErasedUsers | None:
    """The users erased after `moment`, or ever, and `also` these; None where there are none, and no key is needed.

    Raises:
        ConfigurationError: the key of one of them is not among the masking keys, or there are none.
    """
    recorded = _recorded(cursor, statements.erasures.subjects_since, moment=moment)
    subjects = also | {token for (token,) in recorded}
    if not subjects:
        return None
    ring = _proof_keys(settings)
    ids = {token.partition(".")[0] for token in subjects}
    if unknown := sorted(key_id for key_id in ids if ring.find(key_id) is None):
        raise ConfigurationError(
            f"Users were erased since this backup under the masking key {', '.join(unknown)}, without which their rows "
            "cannot be told apart; add it behind the active masking key"
        )
    return ErasedUsers(subjects, (key for key in ring if key.id in ids))


def _proof_keys(settings: Settings) -> KeyRing:
    """The masking keys, the first of which makes proofs.

    Raises:
        ConfigurationError: there is none that can be used.
    """
    try:
        return masking_keys(settings)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error.sentence}; the proof of an erasure is keyed, with any LOGIN_MASKING_METHOD"
        ) from None


def _check_absent(cursor: extensions.cursor, user_id: str, keys: KeyRing, *, allow_none: bool) -> None:
    """Checks that an erasure of no rows is meant, and not a slip in the id; an erasure that goes on may be repeated."""
    if user_id != user_id.strip():
        raise DatabaseError("No row has this USER_ID, which begins or ends with a blank; leave the blank out")
    if allow_none:
        return
    if not _recorded(cursor, statements.erasures.proofs, subjects=[subject(key, user_id) for key in keys]):
        raise DatabaseError(
            "No row in user_logins has this USER_ID, and nothing was recorded; correct it, or record the erasure with "
            "--allow-none, so that no older backup brings the user back"
        )


def _recorded(cursor: extensions.cursor, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    """What the query finds among the records; nothing where their table does not exist yet."""
    if not is_there(cursor, Table.ERASURES):
        return []
    cursor.execute(statements.erasures.may_read)
    if cursor.fetchone() != (True,):
        raise ConfigurationError(
            "The database's role lacks SELECT on user_logins_erasures; run `login-pipeline prepare` as its owner"
        )
    cursor.execute(query, parameters)
    return cursor.fetchall()
