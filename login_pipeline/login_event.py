"""The contract of a login message: what is a login, and why something else is not. Pure: no I/O, no Dagster.

A wrong type is a rejection, never a coercion. A rejection is a code and a field's name, never a value, so
that it can be logged and stored.
"""

import re
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET

from login_pipeline.columns import MAX_LENGTH
from login_pipeline.ip_address import canonical_ip, is_ip
from login_pipeline.login_json import Fields, RejectedError, decode
from login_pipeline.masking.methods import MAX_VALUE_BYTES

# Characters. The table holds only the mask, which has to fit its 256 characters by every method (masking/methods.py).
DEVICE_ID_MAX_LENGTH = 128
INT4_MAX = 2**31 - 1
_INT4_DIGITS = len(str(INT4_MAX))

_TAGS = r"[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+"
_APP_VERSION = re.compile(rf"(0|[1-9][0-9]*+)(?:\.[0-9]++){{0,3}}+(?:-{_TAGS})?+(?:\+{_TAGS})?+")
"""No part of it is tried again with less, so that a long one costs no memory, and a short one half the time.
Semantic Versioning 2.0.0, looser where real apps are: 1 to 4 parts, and leading zeros after the major."""
_DAY = 86_400_000
"""Milliseconds; UTC as computers keep it has no leap seconds."""


class LoginEvent(msgspec.Struct, frozen=True, gc=False):
    """One valid login. `ip` is canonical and, like `device_id`, personal data in clear: in memory only."""

    user_id: str
    device_type: str
    ip: str
    device_id: str
    locale: str | None
    app_version: int
    unknown_keys: int


class Rejection(msgspec.Struct, frozen=True):
    """Why a body is not a login: `reason` is a code such as `missing.user_id`, never a value."""

    reason: str


def parse_login(body: str) -> LoginEvent | Rejection:
    """What the body of a message says, or why it is not a login. Raises nothing, whatever the body is."""
    try:
        return _login(*decode(body))
    except RejectedError as rejected:
        return Rejection(str(rejected))


def create_date(sent_timestamp: int) -> date:
    """The UTC date of an SQS SentTimestamp, in milliseconds since the epoch."""
    return _date(sent_timestamp // _DAY)


@lru_cache(maxsize=1024)
def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def _login(fields: Fields, unknown_keys: int) -> LoginEvent:
    """The first field that is wrong, in this order, gives the reason."""
    return LoginEvent(
        _stored_in_clear("user_id", fields.user_id),
        _stored_in_clear("device_type", fields.device_type),
        _ip(fields.ip),
        _device_id(fields.device_id),
        _locale(fields.locale),
        _major_version(fields.app_version),
        unknown_keys,
    )


def _text(field: str, value: Any, max_length: int | None = None) -> str:
    """The value, where it is something that PostgreSQL can store. Every address and every version is."""
    if not isinstance(value, str):
        raise RejectedError(f"missing.{field}" if value is UNSET else f"wrong_type.{field}")
    if not value.strip():
        raise RejectedError(f"empty.{field}")
    if max_length and len(value) > max_length:
        raise RejectedError(f"too_long.{field}")
    if "\x00" in value or not (value.isascii() or _is_unicode(value)):  # PostgreSQL stores neither
        raise RejectedError(f"bad_character.{field}")
    return value


def _stored_in_clear(field: str, value: Any) -> str:
    """What a sender writes into the table as it is: it must not be an ip."""
    text = _text(field, value, MAX_LENGTH[field])
    if is_ip(text):
        raise RejectedError(f"ip_in_clear.{field}")
    return text


def _device_id(value: Any) -> str:
    device_id = _text("device_id", value, DEVICE_ID_MAX_LENGTH)
    if len(device_id.encode()) > MAX_VALUE_BYTES:
        raise RejectedError("too_long.device_id")
    return device_id


def _is_unicode(text: str) -> bool:
    """Whether the text has no lone surrogate, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _locale(value: Any) -> str | None:
    """The locale; None where it is absent, null or blank."""
    if value is None or value is UNSET or (isinstance(value, str) and not value.strip()):
        return None
    return _stored_in_clear("locale", value)


def _major_version(value: Any) -> int:
    version = _APP_VERSION.fullmatch(value) if isinstance(value, str) else None
    if version is None:
        _text("app_version", value)
        raise RejectedError("malformed.app_version")
    digits = version[1]
    if len(digits) > _INT4_DIGITS or (major := int(digits)) > INT4_MAX:
        raise RejectedError("out_of_range.app_version")
    return major


def _ip(value: Any) -> str:
    try:
        return canonical_ip(value if isinstance(value, str) else "")
    except ValueError:
        _text("ip", value)
        raise RejectedError("malformed.ip") from None
