"""What must hold for every body, and for every batch of them."""

import re
from collections.abc import Callable

from login_pipeline.logins.event import (
    DEVICE_ID_MAX_LENGTH,
    FIELDS,
    INT4_MAX,
    Fields,
    LoginEvent,
    RejectedError,
    Rejection,
    decode,
    decode_exactly,
    is_rejection,
    parse_login,
)
from login_pipeline.logins.ip_address import parsed_ip
from login_pipeline.logins.quality import count_misfits
from login_pipeline.logins.reasons import Reason
from login_pipeline.logins.transform import RAW_COLUMNS, mask_logins, raw_messages, rejected_messages
from login_pipeline.masking.keys import MaskingKey
from login_pipeline.masking.methods import TOKEN, hmac_sha256_masks
from login_pipeline.postgres.copy import copy_lines
from login_pipeline.settings import Envelope
from login_pipeline.sqs.envelope import MAX_INFLATED, UUID, open_envelopes
from login_pipeline_tests.fuzz.mutations import Sent

_MASKS = hmac_sha256_masks(MaskingKey(bytes(range(32))))
_LOADED_BY_NAME = {"user_id": 128, "device_type": 32}


def require_opened(sent: Sent) -> str:
    """What is in the message's envelopes; raises AssertionError where an invariant is broken."""
    content, sns_message_id = open_envelopes(sent.body, sent.encoding, Envelope.AUTO)
    assert not sns_message_id or re.fullmatch(UUID, sns_message_id), "an id that is none, and that may quote the body"
    assert sent.content in (None, content), "an envelope that is not opened"
    assert len(content) <= max(len(sent.body), MAX_INFLATED)
    assert open_envelopes(sent.body, sent.encoding, Envelope.NONE) == (sent.body, "")
    return content


def require_body(body: str) -> str:
    """The reason code of a body that is rejected, or `login`; raises AssertionError where an invariant is broken."""
    parsed = parse_login(body)
    if isinstance(parsed, Rejection):
        assert is_rejection(parsed.reason), "a reason that nobody knows, and that may quote the body"
    else:
        _require_login(parsed)
    if not isinstance(body, Reason):
        assert _decoded(decode, body) == _decoded(decode_exactly, body), "msgspec and Python's parser differ"
    return "login" if isinstance(parsed, LoginEvent) else parsed.reason


def _decoded(decode: Callable[[str], tuple[Fields, int]], body: str) -> object:
    try:
        fields, unknown_keys = decode(body)
    except RejectedError as error:
        return str(error)
    return {name: getattr(fields, name) for name in FIELDS}, unknown_keys


def _require_login(login: LoginEvent) -> None:
    for name, most in {**_LOADED_BY_NAME, "device_id": DEVICE_ID_MAX_LENGTH}.items():
        _require_text(getattr(login, name), most)
    if login.locale is not None:
        _require_text(login.locale, 32)
    assert parsed_ip(login.ip) == login.ip, "an ip that is not canonical"
    assert type(login.app_version) is int
    assert 0 <= login.app_version <= INT4_MAX
    assert login.unknown_keys >= 0


def _require_text(value: object, most: int) -> None:
    assert type(value) is str
    assert value.strip(), "blank"
    assert len(value) <= most
    assert "\x00" not in value
    value.encode()


def require_batch(bodies: list[str]) -> int:
    """How many of the bodies are logins; raises AssertionError where an invariant of the batch is broken."""
    raw = raw_messages(
        [(f"id-{n}", f"id-{n}", f"receipt-{n}", 1767225600000, 1, body, body, {}) for n, body in enumerate(bodies)]
    )
    assert list(raw.columns) == RAW_COLUMNS
    masked, _ = mask_logins(raw, _MASKS)
    rejected = rejected_messages(raw, masked)
    assert len(masked) + len(rejected) == len(bodies), "a message is lost or doubled"
    assert count_misfits(masked) == {}, "a row that the table does not take"
    masks = [*masked["masked_ip"], *masked["masked_device_id"]]
    assert all(TOKEN.fullmatch(mask) for mask in masks)
    lines = copy_lines(masked.astype(object).itertuples(index=False, name=None)).getvalue().decode()
    assert lines.count("\n") == len(masked), "a value that COPY takes for a row's end"
    assert all(line.count("\t") == len(masked.columns) - 1 for line in lines.split("\n")[:-1]), "or for a column's"
    lines.encode()
    return len(masked)
