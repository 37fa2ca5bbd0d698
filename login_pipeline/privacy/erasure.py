"""Erases users from user_logins, and keeps proof of it that only the holder of the masking keys can read.

The user_id itself is stored nowhere, and is in no statement that a server could log.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg2 import extensions

from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import KeyRing, MaskingKey, subject_tokens
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.erased_logins import needed_keys
from login_pipeline.postgres.tables import Rights, Table, is_there, require
from login_pipeline.privacy.request import check_reason, check_user_id, name_users, subject
from login_pipeline.settings import Settings

# Between two looks at the loads that are under way.
POLL_SECONDS = 0.1
# Places of user_ids in one sentence.
MAX_NAMED = 5
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
        self._tokens = [subject_tokens(key) for key in keys]

    def without(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The rows, whose first column is the user_id, of everybody else."""
        return [row for row in rows if row[0] is None or not self._has(row[0])]

    def _has(self, user_id: str) -> bool:
        return any(token(user_id) in self._subjects for token in self._tokens)


def erase(
    database: LoginDatabase, user_ids: Sequence[str], reason: str, operator: str, *, allow_none: bool = False
) -> list[Erasure]:
    """Deletes every row of the users, and records it, in one transaction; one record a user.

    A user without any row is recorded with `allow_none`, or where an erasure of theirs is recorded already.

    What they sent before gets no row from then on (postgres/erased_logins.py). Loads that were under way may not know
    of it, so they are waited for, and what they loaded is erased, too, with records of its own. Memory does not grow
    with the rows.

    Raises:
        ConfigurationError: no database or no masking key, the role lacks a right, or what was given cannot be.
        DatabaseError: PostgreSQL refused, or kept some of the rows; nothing was erased, or not what was loaded while it
            was.
    """
    user_ids = list(dict.fromkeys(user_ids))
    for user_id in user_ids:
        check_user_id(user_id)
    check_reason(reason, *user_ids)
    keys = _proof_keys(database.settings)
    database.require_table()
    done = _erase(database, user_ids, reason, operator, keys, allow_none=allow_none)
    _wait_for_loads(database)
    return done + _erase(database, user_ids, reason, operator, keys)


def _erase(
    database: LoginDatabase,
    user_ids: Sequence[str],
    reason: str,
    operator: str,
    keys: KeyRing,
    *,
    allow_none: bool | None = None,
) -> list[Erasure]:
    """Erases and records; users without a row are checked, or, without `allow_none`, left out."""
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
        cursor.execute(statements.ledger.lock_alone)
        cursor.execute(statements.inbox.lock_as_a_load_does)
        name_users(cursor, user_ids)
        cursor.execute(statements.erasures.erase)
        gone = {user_id: counts for user_id, *counts in cursor.fetchall()}
        if kept := sum(present - rows for rows, _, present in gone.values()):
            raise DatabaseError(
                f"PostgreSQL kept {kept} of the {sum(present for *_, present in gone.values())} rows of these users in "
                "user_logins, so nothing was erased or recorded; disable the trigger or the rule of the table that "
                "keeps them, and try again"
            )
        if allow_none is not None:
            _check_absent(cursor, user_ids, [not gone[each][0] for each in user_ids], keys, allow_none=allow_none)
        erased = []
        for user_id in user_ids:
            rows, dates, _ = gone[user_id]
            if rows or allow_none is not None:
                proof = {"subject": subject(keys.active, user_id), "rows": rows, "dates": dates, "reason": reason}
                cursor.execute(statements.erasures.record, {**proof, "operator": operator})
                erased.append(Erasure(*(cursor.fetchone() or ())))
        return erased


def _wait_for_loads(database: LoginDatabase) -> None:
    """Until the loads under way are over, without a lock that would keep others waiting."""
    waited_for: set[str] | None = None
    while waited_for is None or waited_for:
        with database.transaction() as cursor:
            cursor.execute(statements.erasures.loads_under_way)
            under_way = {transaction for (transaction,) in cursor.fetchall()}
        waited_for = under_way if waited_for is None else waited_for & under_way
        if waited_for:
            time.sleep(POLL_SECONDS)


def count_rows_of(database: LoginDatabase, user_ids: Sequence[str]) -> tuple[int, int]:
    """How many rows the users have, of how many dates; raises as `erase`."""
    for user_id in user_ids:
        check_user_id(user_id)
    _proof_keys(database.settings)  # for its error: without a key an erasure would fail, too
    database.require_table()
    with database.transaction() as cursor:
        name_users(cursor, user_ids)
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
    ids = {token.partition(".")[0] for token in subjects}
    return ErasedUsers(subjects, needed_keys(_proof_keys(settings), ids, "this backup"))


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


def _check_absent(
    cursor: extensions.cursor, user_ids: Sequence[str], absent: Sequence[bool], keys: KeyRing, *, allow_none: bool
) -> None:
    """Checks that an erasure of no rows is meant, and not a slip in an id; an erasure that goes on may be repeated."""
    without_row = [(place, each) for place, (each, none) in enumerate(zip(user_ids, absent, strict=True), 1) if none]
    blank = [place for place, each in without_row if each != each.strip()]
    if blank:
        raise DatabaseError(
            f"No row has {_named(blank, user_ids)}, which begins or ends with a blank, and nothing was recorded; leave "
            "the blank out"
        )
    if allow_none:
        return
    unknown = [
        place
        for place, each in without_row
        if not _recorded(cursor, statements.erasures.proofs, subjects=[subject(key, each) for key in keys])
    ]
    if unknown:
        raise DatabaseError(
            f"No row in user_logins has {_named(unknown, user_ids)}, and nothing was recorded; correct it, or record "
            "the erasure with --allow-none, so that no older backup brings the user back"
        )


def _named(places: Sequence[int], user_ids: Sequence[str]) -> str:
    """The USER_IDs at these places, in a sentence that quotes none."""
    if len(user_ids) == 1:
        return "this USER_ID"
    named = ", ".join(str(place) for place in places[:MAX_NAMED]) + (" and others" if len(places) > MAX_NAMED else "")
    return f"the USER_ID at place {named}"


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
