"""Holds a batch's masked logins against the table and against the messages they came from. No I/O, no Dagster.

What the checks report is counts, never a value. They use nothing that the assets made but the two DataFrames.
"""

import sys
from datetime import date
from typing import Any, NamedTuple

import pandas as pd

from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.logins.columns import MAX_LENGTH, USER_LOGINS
from login_pipeline.logins.event import INT4_MAX, RejectedError, decode
from login_pipeline.logins.ip_address import canonical_ip
from login_pipeline.logins.transform import MASKED_COLUMNS
from login_pipeline.masking.methods import TOKEN

# Each masked column, and the field of the message that it masks.
MASKED = {"masked_ip": "ip", "masked_device_id": "device_id"}
_PYTHON_TYPES = {column.name: {"integer": int, "date": date}.get(column.type, str) for column in USER_LOGINS}
_NULLABLE = {"locale"}


class BatchCheck(NamedTuple):
    """What one check found; it failed where `passed` is False."""

    check: str
    passed: bool
    counts: dict[str, int | dict[str, int]]


@no_cycle_collection()
def check_batch(raw: pd.DataFrame, masked: pd.DataFrame) -> list[BatchCheck]:
    """What each check finds in masked_logins, held against raw_sqs_messages."""
    misfits = count_misfits(masked)
    clear = _clear_values(raw, masked)
    in_clear = sum(_values_in_clear(clear[field], masked[column]) for column, field in MASKED.items())
    mismatches = sum(_mismatches(clear[field], masked[column]) for column, field in MASKED.items())
    repeated = int(masked["message_id"].duplicated().sum())
    return [
        BatchCheck("columns_fit_the_table", not misfits, {"misfits": sum(misfits.values()), "by_rule": misfits}),
        BatchCheck("masked_values_hold_no_clear_value", in_clear == 0, {"values_in_clear": in_clear}),
        BatchCheck("equal_values_have_equal_masks", mismatches == 0, {"mismatches": mismatches}),
        BatchCheck("message_ids_are_unique", repeated == 0, {"repeated": repeated}),
    ]


def count_misfits(masked: pd.DataFrame) -> dict[str, int]:
    """How many values do not fit user_logins, by `column: rule`; empty for a DataFrame that fits."""
    if list(masked.columns) != MASKED_COLUMNS:
        return {"columns: are other ones": len(masked.columns)}
    broken = {name: _misfits(name, masked[name].tolist()) for name in MASKED_COLUMNS}
    return {f"{name}: {rule}": count for name, rules in broken.items() for rule, count in rules.items() if count}


def _misfits(name: str, values: list[Any]) -> dict[str, int]:
    """How many of a column's values break each rule. Each value counts once.

    Counted by column: a call per value is slower.
    """
    type_ = _PYTHON_TYPES.get(name, str)
    max_length = MAX_LENGTH.get(name, sys.maxsize)
    present = [value for value in values if value is not None]
    typed: list[Any] = [value for value in present if type(value) is type_]
    return {
        "null": 0 if name in _NULLABLE else len(values) - len(present),
        "type": len(present) - len(typed),
        "length": sum(not 0 < length <= max_length for length in map(len, typed)) if type_ is str else 0,
        "range": sum(not 0 <= value <= INT4_MAX for value in typed) if type_ is int else 0,
    }


def _clear_values(raw: pd.DataFrame, masked: pd.DataFrame) -> dict[str, list[str]]:
    """The ip and device_id in clear of each row of `masked`, in its order."""
    contents = dict(zip(raw["message_id"], raw["content"], strict=True))
    pairs = [pair for message_id in masked["message_id"] if (pair := _in_clear(contents[message_id]))]
    return {"ip": [ip for ip, _ in pairs], "device_id": [device_id for _, device_id in pairs]}


def _in_clear(content: str) -> tuple[str, str] | None:
    """The canonical ip and the device_id; None where the message has none."""
    try:
        fields, _ = decode(content)
        return (canonical_ip(fields.ip), fields.device_id) if isinstance(fields.device_id, str) else None
    except (RejectedError, ValueError, TypeError):  # no JSON object; no address; no text
        return None


def _values_in_clear(clear: list[str], masked: "pd.Series[str]") -> int:
    """Held against its own value only: a sender can make a device_id that equals another message's mask."""
    masks = masked.tolist()
    tokens = map(TOKEN.fullmatch, map(str, masks))
    return sum(not token or mask == value for token, mask, value in zip(tokens, masks, clear, strict=False))


def _mismatches(clear: list[str], masked: "pd.Series[str]") -> int:
    """0 where clear and masked values correspond one to one."""
    masks = masked.tolist()
    if _one_to_one(clear, masks):
        return 0
    pairs = len(set(zip(clear, masks, strict=False)))
    return (pairs - len(set(clear))) + (pairs - len(set(masks))) + abs(len(clear) - len(masks))


def _one_to_one(clear: list[str], masks: list[str]) -> bool:
    """Without an object for each pair: so many at once would have Python look through all of its own."""
    if len(clear) != len(masks):
        return False
    mask_of = dict(zip(clear, masks, strict=True))
    return [mask_of[value] for value in clear] == masks and len(set(masks)) == len(mask_of)
