"""Turns masks back into values, for the holder of the key, and records that it was done before anybody sees them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg2 import extensions

from login_pipeline.errors import DatabaseError
from login_pipeline.logins.columns import NAMES
from login_pipeline.masking.keys import KeyRing
from login_pipeline.masking.methods import NotReversibleError, unmask
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import copy_lines
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import Rights, Table, require
from login_pipeline.privacy.request import check_reason, check_user_id, name_users, subject

# Which column has the mask of what.
_MASKED = {"ip": "masked_ip", "device_id": "masked_device_id"}
_RIGHTS: Rights = {Table.USER_LOGINS: "SELECT", Table.UNMASKINGS: "INSERT", "the database": "TEMPORARY"}


class Unmasked(NamedTuple):
    """One mask and its value: personal data in clear."""

    mask: str
    field: str
    value: str


class Unmasking(NamedTuple):
    """The masks that were turned back, and why others could not be: how many for each reason."""

    values: list[Unmasked]
    refused: Counter[str]

    def problems(self) -> Iterator[str]:
        """A sentence for each reason; it quotes no mask."""
        for reason, count in self.refused.items():
            yield f"{count} of the masks stayed as they are: {reason}"


def masks_of_user(database: LoginDatabase, user_id: str) -> list[str]:
    """The masks in the rows of one user; raises as `LoginDatabase.transaction` does."""
    check_user_id(user_id)
    database.require_table()
    with database.transaction() as cursor:
        name_users(cursor, [user_id])
        cursor.execute(statements.unmaskings.masks_of_user)
        return [mask for (mask,) in cursor.fetchall()]


def unmask_all(
    database: LoginDatabase,
    ring: KeyRing,
    masks: Sequence[str],
    reason: str,
    operator: str,
    user_id: str | None = None,
) -> Unmasking:
    """Turns the masks back, and returns when user_logins_unmaskings has the record of it.

    The record names the user_id, or without it the users in whose rows the masks are, which reads all of user_logins.

    Raises:
        ConfigurationError: the database cannot be reached, its role may not add to the record, or the reason has one of
            the masks or values in it.
        DatabaseError: the record was refused, so nothing may be shown.
    """
    database.require_table()
    values, refused = [], Counter[str]()
    for mask in masks:
        try:
            values.append(Unmasked(mask, *unmask(mask, ring)))
        except NotReversibleError as why:
            refused[str(why)] += 1
    check_reason(reason, *masks, *(each.value for each in values))
    record = {"operator": operator, "reason": reason, "masks": len(masks), "unmasked": len(values)}
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
        users = [user_id] if user_id is not None else _users_of(cursor, [each.mask for each in values])
        subjects: list[str | None] = [subject(ring.active, user) for user in users] or [None]
        cursor.execute(statements.unmaskings.record, {**record, "subjects": subjects})
        if cursor.rowcount != len(subjects):  # a trigger or a rule that leaves it out without a word
            raise DatabaseError(
                "user_logins_unmaskings took the record without an error and does not have it, so nothing is shown; "
                "take away the trigger or the rule that somebody made on it"
            )
    return Unmasking(values, refused)


def unmasked_rows(
    database: LoginDatabase, ring: KeyRing, user_id: str, reason: str, operator: str
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The rows of one user, the oldest first, by their columns' names, with `ip` and `device_id` beside the masks.

    They are None where the mask stays; the second part says why, and how many. It is recorded and raises as
    `unmask_all`; a user without a row is not recorded.
    """
    check_user_id(user_id)
    check_reason(reason, user_id)
    database.require_table()
    with database.transaction() as cursor:
        name_users(cursor, [user_id])
        cursor.execute(statements.unmaskings.rows_of_user)
        rows = [dict(zip(NAMES, row, strict=True)) for row in cursor.fetchall()]
    if not rows:
        return [], Counter()
    masks = dict.fromkeys(row[masked] for row in rows for masked in _MASKED.values() if row[masked] is not None)
    done = unmask_all(database, ring, list(masks), reason, operator, user_id)
    values = {each.mask: each.value for each in done.values}
    clear = [{field: values.get(row[masked]) for field, masked in _MASKED.items()} for row in rows]
    return [{**row, **own} for row, own in zip(rows, clear, strict=True)], done.refused


def _users_of(cursor: extensions.cursor, masks: Sequence[str]) -> list[str]:
    cursor.execute(statements.unmaskings.stage_masks)
    cursor.copy_expert(statements.unmaskings.copy_masks, copy_lines([(mask,) for mask in masks]))
    cursor.execute(statements.unmaskings.users_of_masks)
    return [user for (user,) in cursor.fetchall()]
