"""One batch of messages on its way to rows: DataFrames in, DataFrames out. Pure: no I/O, no Dagster."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from login_pipeline.columns import NAMES
from login_pipeline.login_event import LoginEvent, Rejection, create_date, parse_login
from login_pipeline.masking import Masks

RAW_COLUMNS = ["message_id", "sqs_message_id", "receipt_handle", "sent_timestamp", "receive_count", "body"]
"""What raw_sqs_messages has; sent_timestamp is in milliseconds since the epoch."""
MASKED_COLUMNS = [*NAMES, "message_id", "receipt_handle"]
"""What masked_logins has: the table's columns, the idempotency key, and what deletes the message."""


class MaskedBatch(NamedTuple):
    """The masked logins, and how many of their messages had keys that the contract does not know."""

    logins: pd.DataFrame
    with_unknown_keys: int


def raw_messages(messages: Sequence[tuple[str, str, str, int, int, str, *tuple[Any, ...]]]) -> pd.DataFrame:
    """The messages as a DataFrame of RAW_COLUMNS, a row each."""
    frame = pd.DataFrame([message[: len(RAW_COLUMNS)] for message in messages], columns=RAW_COLUMNS, dtype=object)
    return frame.astype({"sent_timestamp": "int64", "receive_count": "int64"})


def mask_logins(raw: pd.DataFrame, masks: Masks) -> MaskedBatch:
    """The valid messages of `raw` as a DataFrame of MASKED_COLUMNS; the others are left out."""
    rows = []
    with_unknown_keys = 0
    for message_id, receipt_handle, sent_timestamp, body in _messages(raw):
        login = parse_login(body)
        if isinstance(login, Rejection):
            continue
        rows.append((*_row(login, sent_timestamp, masks), message_id, receipt_handle))
        with_unknown_keys += login.unknown_keys > 0
    frame = pd.DataFrame(rows, columns=MASKED_COLUMNS, dtype=object)
    return MaskedBatch(frame.astype({"app_version": "int64"}), with_unknown_keys)


def rejected_messages(raw: pd.DataFrame, masked: pd.DataFrame) -> pd.DataFrame:
    """The messages of `raw` that are not in `masked`, with a column `reason` more.

    Raises:
        AssertionError: one of them is a valid login, so that masking lost it.
    """
    rejected = raw[~raw["message_id"].isin(masked["message_id"])]
    reasons = [_reason(body) for body in rejected["body"]]
    return rejected.assign(reason=pd.Series(reasons, index=rejected.index, dtype=object))


def refused_messages(raw: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    """The messages of `raw` whose message_id is in `reasons`, with a column `reason` more."""
    refused = raw[raw["message_id"].isin(list(reasons))]
    return refused.assign(reason=refused["message_id"].map(reasons))


def _messages(raw: pd.DataFrame) -> Iterator[tuple[str, str, int, str]]:
    return zip(raw["message_id"], raw["receipt_handle"], raw["sent_timestamp"].tolist(), raw["body"], strict=True)


def _row(login: LoginEvent, sent_timestamp: int, masks: Masks) -> tuple[object, ...]:
    """In the order of the table's columns."""
    return (
        login.user_id,
        login.device_type,
        masks.ip(login.ip),
        masks.device_id(login.device_id),
        login.locale,
        login.app_version,
        create_date(sent_timestamp),
    )


def _reason(body: str) -> str:
    rejection = parse_login(body)
    if not isinstance(rejection, Rejection):
        raise AssertionError("a valid login was not masked")
    return rejection.reason
