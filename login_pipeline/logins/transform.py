"""One batch of messages on its way to rows: DataFrames in, DataFrames out. No I/O, no Dagster."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.logins.columns import NAMES
from login_pipeline.logins.event import LoginEvent, Rejection, create_date, parse_login
from login_pipeline.masking.methods import Masks

# What raw_sqs_messages has; sent_timestamp is in milliseconds since the epoch. `content` is the body out of its
# envelopes. The sender's own attributes may hold personal data, as the body does.
RAW_COLUMNS = [
    "message_id",
    "sqs_message_id",
    "receipt_handle",
    "sent_timestamp",
    "receive_count",
    "body",
    "content",
    "attributes",
]
# What masked_logins has: the table's columns, the idempotency key, and what deletes the message.
MASKED_COLUMNS = [*NAMES, "message_id", "receipt_handle"]


class MaskedBatch(NamedTuple):
    """The masked logins, and how many of their messages had keys that the contract does not know."""

    logins: pd.DataFrame
    with_unknown_keys: int


def raw_messages(
    messages: Sequence[tuple[str, str, str, int, int, str, str, Mapping[str, Any], *tuple[Any, ...]]],
) -> pd.DataFrame:
    """The messages as a DataFrame of RAW_COLUMNS, a row each."""
    columns = {name: [message[place] for message in messages] for place, name in enumerate(RAW_COLUMNS)}
    frame = pd.DataFrame(columns, dtype=object)
    return frame.astype({"sent_timestamp": "int64", "receive_count": "int64"})


@no_cycle_collection()
def mask_logins(raw: pd.DataFrame, masks: Masks) -> MaskedBatch:
    """The valid messages of `raw` as a DataFrame of MASKED_COLUMNS; the others are left out."""
    parsed = [parse_login(content) for content in raw["content"]]
    logins = [login for login in parsed if isinstance(login, LoginEvent)]
    messages = raw[_flags(isinstance(login, LoginEvent) for login in parsed)]
    columns = {
        "user_id": [login.user_id for login in logins],
        "device_type": [login.device_type for login in logins],
        "masked_ip": [masks.ip(login.ip) for login in logins],
        "masked_device_id": [masks.device_id(login.device_id) for login in logins],
        "locale": [login.locale for login in logins],
        "app_version": [login.app_version for login in logins],
        "create_date": [create_date(sent) for sent in messages["sent_timestamp"].tolist()],
        "message_id": messages["message_id"].tolist(),
        "receipt_handle": messages["receipt_handle"].tolist(),
    }
    frame = pd.DataFrame(columns, columns=MASKED_COLUMNS, dtype=object).astype({"app_version": "int64"})
    return MaskedBatch(frame, sum(login.unknown_keys > 0 for login in logins))


def rejected_messages(raw: pd.DataFrame, masked: pd.DataFrame) -> pd.DataFrame:
    """The messages of `raw` that are not in `masked`, with a column `reason` more.

    Raises:
        AssertionError: one of them is a valid login, so that masking lost it.
    """
    taken = set(masked["message_id"])
    rejected = raw[_flags(message_id not in taken for message_id in raw["message_id"])]
    reasons = [_reason(content) for content in rejected["content"]]
    return rejected.assign(reason=pd.Series(reasons, index=rejected.index, dtype=object))


def refused_messages(raw: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    """The messages of `raw` whose message_id is in `reasons`, with a column `reason` more."""
    refused = raw[raw["message_id"].isin(list(reasons))]
    return refused.assign(reason=refused["message_id"].map(reasons))


def _flags(flags: Iterable[bool]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows; pandas takes an empty list for no columns."""
    return np.fromiter(flags, dtype=bool)


def _reason(content: str) -> str:
    rejection = parse_login(content)
    if not isinstance(rejection, Rejection):
        raise AssertionError("a valid login was not masked")
    return rejection.reason
