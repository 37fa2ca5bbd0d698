"""Masks again, under the active key, what aes-siv masked under older ones, so that equal values match again.

The rows themselves say which are done: cut off anywhere, it goes on the next time.
"""

from collections.abc import Iterator
from typing import NamedTuple

from login_pipeline.masking.keys import KeyRing
from login_pipeline.masking.methods import Masks, NotReversibleError, aes_siv_masks, unmask
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import Rights, Table, require

# In one transaction: of 8 KiB each, some 5,000 rows, which a load never waits for.
BLOCKS_AT_ONCE = 200
# Over the table: runs that had the old key when it began may still load.
PASSES = 3
_RIGHTS: Rights = {Table.USER_LOGINS: "UPDATE", Table.INBOX: "INSERT", Table.LEDGER: "INSERT UPDATE"}


class Rotated(NamedTuple):
    """How many rows have masks under the active key now, and how many rows are masked under which key."""

    rows: int
    by_key: dict[str, int]


def rotate(database: LoginDatabase, ring: KeyRing) -> Rotated:
    """Masks again what the older keys of the ring have masked, some blocks of the table a transaction.

    Raises:
        ConfigurationError: no database, no table, or no right to UPDATE it.
        DatabaseError: PostgreSQL refused; what was committed before stays.
    """
    database.require_table()
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
    rows = 0
    for _ in range(PASSES):
        (blocks,) = database.ask(statements.rotation.blocks)
        done = sum(_rotate_blocks(database, ring, first) for first in range(0, blocks, BLOCKS_AT_ONCE))
        rows += done
        if not done:
            break
    return Rotated(rows, rows_by_key(database))


def rows_by_key(database: LoginDatabase) -> dict[str, int]:
    """How many rows are masked under which key; reads the whole table."""
    with database.transaction() as cursor:
        cursor.execute(statements.rotation.by_key)
        return dict(cursor.fetchall())


def remaining(rotated: Rotated, ring: KeyRing) -> Iterator[str]:
    """What a rotation cannot do, a sentence for each key that is not the active one."""
    for key, rows in rotated.by_key.items():
        key_id, _, reversible = key.partition(".")
        if key_id == ring.active.id or key == "no mask":
            continue
        if key == "sha256":
            yield f"{rows} rows are masked with sha256, which has no key; equal values do not match those under one"
        elif not reversible:
            yield (
                f"{rows} rows are masked with hmac-sha256 under {key_id}, which cannot be turned back; equal values do "
                f"not match those under {ring.active.id}"
            )
        elif ring.find(key_id) is None:
            yield (
                f"{rows} rows are masked under {key_id}, which is not among the masking keys; put it behind the active "
                "key and rotate again"
            )
        else:
            yield (
                f"{rows} rows are still masked under {key_id}: a run with the old key loaded them, or their masks were "
                "altered; rotate again"
            )


def _rotate_blocks(database: LoginDatabase, ring: KeyRing, first: int) -> int:
    masks = aes_siv_masks(ring.active)
    with database.transaction() as cursor:
        cursor.execute(statements.inbox.lock_as_a_load_does)
        blocks = {"first": f"({first},0)", "end": f"({first + BLOCKS_AT_ONCE},0)", "active": f"{ring.active.id}."}
        cursor.execute(statements.rotation.masks, blocks)
        rows = [
            (*place, ip, device_id, day)
            for *place, old_ip, old_device_id, day in cursor.fetchall()
            for ip, device_id in [(_again(old_ip, ring, masks), _again(old_device_id, ring, masks))]
            if (ip, device_id) != (old_ip, old_device_id)
        ]
        if rows:
            tables, places, ips, device_ids, dates = (list(values) for values in zip(*rows, strict=True))
            columns = {"tables": tables, "places": places, "masked_ips": ips, "masked_device_ids": device_ids}
            cursor.execute(statements.rotation.replace, columns)
            cursor.execute(statements.rotation.mark, {"dates": list(set(dates))})
    return len(rows)


def _again(token: str | None, ring: KeyRing, masks: Masks) -> str | None:
    """The mask of the same value under the active key; the same mask where that cannot be made."""
    try:
        field, value = unmask(token or "", ring)
    except NotReversibleError:
        return token
    return masks.ip(value) if field == "ip" else masks.device_id(value)
