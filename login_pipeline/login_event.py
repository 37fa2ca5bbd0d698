"""The contract of a login message: what is a login, and why something else is not. Pure: no I/O, no Dagster.

A wrong type is a rejection, never a coercion. A rejection is a code and a field's name, never a value, so
that it can be logged and stored.
"""

import ipaddress
import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NoReturn

from login_pipeline.columns import MAX_LENGTH
from login_pipeline.masking import MAX_VALUE_BYTES

FIELDS = frozenset({"user_id", "app_version", "device_type", "ip", "locale", "device_id"})
DEVICE_ID_MAX_LENGTH = 128
"""Characters. The table holds only the mask, which has to fit its 256 characters by every method (masking.py)."""
INT4_MAX = 2**31 - 1
STORED_IN_CLEAR = frozenset({"user_id", "device_type", "locale"})
"""What a sender writes into the table as it is: it must not be an ip."""

_TAGS = r"[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+"
"""Never tried again with less, so that a long one costs no memory."""
_APP_VERSION = re.compile(rf"(0|[1-9][0-9]*)(?:\.[0-9]+){{0,3}}(?:-{_TAGS})?(?:\+{_TAGS})?")
"""Semantic Versioning 2.0.0, looser where real apps are: 1 to 4 parts, and leading zeros after the major."""


@dataclass(frozen=True, slots=True)
class LoginEvent:
    """One valid login. `ip` is canonical and, like `device_id`, personal data in clear: in memory only."""

    user_id: str
    device_type: str
    ip: str
    device_id: str
    locale: str | None
    app_version: int
    unknown_keys: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a body is not a login: `reason` is a code such as `missing.user_id`, never a value."""

    reason: str


class _RejectedError(Exception):
    """Leaves the parser from any depth with its reason code."""


def parse_login(body: str) -> LoginEvent | Rejection:
    """What the body of a message says, or why it is not a login. Raises nothing, whatever the body is."""
    try:
        return _login(_json_object(body))
    except _RejectedError as rejected:
        return Rejection(str(rejected))


def create_date(sent_timestamp: int) -> date:
    """The UTC date of an SQS SentTimestamp, in milliseconds since the epoch."""
    return datetime.fromtimestamp(sent_timestamp / 1000, tz=UTC).date()


def _json_object(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_not_json)
    except (ValueError, RecursionError):  # not JSON; an integer of over 4,300 digits; nested too deep
        raise _RejectedError("not_json") from None
    if not isinstance(value, dict):
        raise _RejectedError("not_an_object")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise _RejectedError("duplicate_key")
    return keys


def _not_json(_constant: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; RFC 8259 does not."""
    raise _RejectedError("not_json")


def _login(message: dict[str, Any]) -> LoginEvent:
    return LoginEvent(
        user_id=_text(message, "user_id", MAX_LENGTH["user_id"]),
        device_type=_text(message, "device_type", MAX_LENGTH["device_type"]),
        ip=_canonical_ip(_text(message, "ip", None)),
        device_id=_device_id(message),
        locale=_locale(message),
        app_version=_major_version(_text(message, "app_version", None)),
        unknown_keys=len(message.keys() - FIELDS),
    )


def _text(message: dict[str, Any], field: str, max_length: int | None) -> str:
    if field not in message:
        raise _RejectedError(f"missing.{field}")
    value = message[field]
    if not isinstance(value, str):
        raise _RejectedError(f"wrong_type.{field}")
    if not value.strip():
        raise _RejectedError(f"empty.{field}")
    if max_length and len(value) > max_length:
        raise _RejectedError(f"too_long.{field}")
    if "\x00" in value or not _is_unicode(value):  # PostgreSQL stores neither
        raise _RejectedError(f"bad_character.{field}")
    if field in STORED_IN_CLEAR and _is_ip(value):
        raise _RejectedError(f"ip_in_clear.{field}")
    return value


def _device_id(message: dict[str, Any]) -> str:
    device_id = _text(message, "device_id", DEVICE_ID_MAX_LENGTH)
    if len(device_id.encode()) > MAX_VALUE_BYTES:
        raise _RejectedError("too_long.device_id")
    return device_id


def _is_ip(value: str) -> bool:
    if "." not in value and ":" not in value:
        return False
    try:
        ipaddress.ip_address(value.strip())
    except ValueError:
        return False
    return True


def _is_unicode(value: str) -> bool:
    """Whether the text has no lone surrogate, which JSON can spell and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _locale(message: dict[str, Any]) -> str | None:
    """The locale; None where it is absent, null or blank."""
    value = message.get("locale")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return _text(message, "locale", MAX_LENGTH["locale"])


def _major_version(text: str) -> int:
    version = _APP_VERSION.fullmatch(text)
    if version is None:
        raise _RejectedError("malformed.app_version")
    major = version[1]
    if len(major) > len(str(INT4_MAX)) or int(major) > INT4_MAX:
        raise _RejectedError("out_of_range.app_version")
    return int(major)


def _canonical_ip(text: str) -> str:
    """One spelling for each address, so that equal addresses have equal masks (RFC 5952)."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        raise _RejectedError("malformed.ip") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:  # a zone means something on the sender's host alone
            raise _RejectedError("malformed.ip")
        return str(address.ipv4_mapped or address)
    return str(address)
