"""What may be said about masking keys: ids, ages and what they have masked, never a key. Pure: no I/O."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from login_pipeline.masking.keys import KeyRing


class KeyStatus(NamedTuple):
    """One key: active, older, or not configured and only known from its masks. `rows` is None where not counted."""

    id: str
    state: str
    made_on: str | None = None
    age_days: int | None = None
    rows: int | None = None


def key_status(ring: KeyRing, rows_by_key: Mapping[str, int] | None, today: date) -> list[KeyStatus]:
    """The state of each key of the ring, and of each that only the table knows.

    Args:
        ring: The configured keys.
        rows_by_key: How many rows each has masked, `.siv` behind its id or not; None where they were not counted.
        today: Until which ages are counted.
    """

    def rows(key_id: str) -> int | None:
        return None if rows_by_key is None else sum(rows_by_key.get(name, 0) for name in (key_id, f"{key_id}.siv"))

    known = [
        KeyStatus(
            key.id,
            "active" if key is ring.active else "older",
            key.made_on.isoformat() if key.made_on else None,
            (today - key.made_on).days if key.made_on else None,
            rows(key.id),
        )
        for key in ring
    ]
    others = sorted({name.removesuffix(".siv") for name in rows_by_key or ()} - {key.id for key in ring})
    return known + [KeyStatus(each, "not configured", rows=rows(each)) for each in others]
