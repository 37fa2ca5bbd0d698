"""The contract of a login message: what is a login, and why something else is not. No I/O, no Dagster.

A wrong type is a rejection, never a coercion. A rejection is a code and a field's name, never a value, so
that it can be logged and stored. Python's JSON parser judges. What is plainly a login is decoded by msgspec,
in a quarter of the time and to the same fields.
"""

import json
import re
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from login_pipeline.logins.columns import MAX_LENGTH
from login_pipeline.logins.ip_address import canonical_ip, is_ip
from login_pipeline.logins.reasons import OF_A_FIELD, OF_THE_BODY, Reason
from login_pipeline.masking.methods import MAX_VALUE_BYTES

# Characters. The table holds only the mask, which has to fit its 256 characters by every method (masking/methods.py).
DEVICE_ID_MAX_LENGTH = 128
INT4_MAX = 2**31 - 1
_INT4_DIGITS = len(str(INT4_MAX))

_TAGS = r"[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+"
# No part of it is tried again with less, so that a long one costs no memory, and a short one half the time. Semantic
# Versioning 2.0.0, looser where real apps are: 1 to 4 parts, and leading zeros after the major.
_APP_VERSION = re.compile(rf"(0|[1-9][0-9]*+)(?:\.[0-9]++){{0,3}}+(?:-{_TAGS})?+(?:\+{_TAGS})?+")
# Milliseconds; UTC as computers keep it has no leap seconds.
_DAY = 86_400_000


class Fields(msgspec.Struct, kw_only=True):
    """What a message has for each field of the contract: any JSON value, or UNSET where it has nothing."""

    user_id: Any = UNSET
    app_version: Any = UNSET
    device_type: Any = UNSET
    ip: Any = UNSET
    locale: Any = UNSET
    device_id: Any = UNSET


class _PlainFields(Fields, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Every required field a string, and no other key."""

    user_id: str
    app_version: str
    device_type: str
    ip: str
    locale: str | UnsetType | None = UNSET
    device_id: str


FIELDS = frozenset(Fields.__struct_fields__)
_decode_plain = msgspec.json.Decoder(_PlainFields).decode


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


class RejectedError(Exception):
    """Leaves the parser from any depth with its reason code."""


def parse_login(content: str) -> LoginEvent | Rejection:
    """What a message says, or why it is not a login: also where its envelope left a Reason. Raises nothing."""
    if isinstance(content, Reason):
        return Rejection(content)
    try:
        return _login(*decode(content))
    except RejectedError as rejected:
        return Rejection(str(rejected))


def is_rejection(reason: str) -> bool:
    """Whether `parse_login` rejects messages with this code."""
    kind, _, field = reason.partition(".")
    return reason in OF_THE_BODY or (kind in OF_A_FIELD and field in FIELDS)


def create_date(sent_timestamp: int) -> date:
    """The UTC date of an SQS SentTimestamp, in milliseconds since the epoch."""
    return _date(sent_timestamp // _DAY)


@lru_cache(maxsize=1024)
def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def decode(body: str) -> tuple[Fields, int]:
    """The fields of a message, and how many keys it has that the contract does not know.

    Raises:
        RejectedError: it is not JSON (RFC 8259), no object, or has a key twice.
    """
    plain = _plain_fields(body)
    return (plain, 0) if plain is not None else decode_exactly(body)


def _plain_fields(body: str) -> _PlainFields | None:
    """None: undecided, use the strict parser.

    msgspec keeps the last of equal keys, so the quotation marks are counted: there are two for each key and each
    string, and more where a key is there twice, or where one is escaped, which is then left to the exact way, too.
    """
    try:
        fields = _decode_plain(body)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    keys, strings = (5, 5) if fields.locale is UNSET else (6, 5) if fields.locale is None else (6, 6)
    return fields if body.count('"') == 2 * (keys + strings) else None


def decode_exactly(body: str) -> tuple[Fields, int]:
    """What `decode` gives, by Python's parser alone; raises as it does."""
    try:
        message = json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_not_json)
    except (ValueError, RecursionError):  # not JSON; an integer of over 4,300 digits; nested too deep
        raise RejectedError(Reason.NOT_JSON) from None
    if not isinstance(message, dict):
        raise RejectedError(Reason.NOT_AN_OBJECT)
    return Fields(**{name: message[name] for name in FIELDS & message.keys()}), len(message.keys() - FIELDS)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise RejectedError(Reason.DUPLICATE_KEY)
    return keys


def _not_json(_constant: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; RFC 8259 does not."""
    raise RejectedError(Reason.NOT_JSON)


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
        raise RejectedError((Reason.MISSING if value is UNSET else Reason.WRONG_TYPE).of(field))
    if not value.strip():
        raise RejectedError(Reason.EMPTY.of(field))
    if max_length and len(value) > max_length:
        raise RejectedError(Reason.TOO_LONG.of(field))
    if "\x00" in value or not (value.isascii() or _is_unicode(value)):  # PostgreSQL stores neither
        raise RejectedError(Reason.BAD_CHARACTER.of(field))
    return value


def _stored_in_clear(field: str, value: Any) -> str:
    """What a sender writes into the table as it is: it must not be an ip."""
    text = _text(field, value, MAX_LENGTH[field])
    if is_ip(text):
        raise RejectedError(Reason.IP_IN_CLEAR.of(field))
    return text


def _device_id(value: Any) -> str:
    device_id = _text("device_id", value, DEVICE_ID_MAX_LENGTH)
    if len(device_id.encode()) > MAX_VALUE_BYTES:
        raise RejectedError(Reason.TOO_LONG.of("device_id"))
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
        raise RejectedError(Reason.MALFORMED.of("app_version"))
    digits = version[1]
    if len(digits) > _INT4_DIGITS or (major := int(digits)) > INT4_MAX:
        raise RejectedError(Reason.OUT_OF_RANGE.of("app_version"))
    return major


def _ip(value: Any) -> str:
    try:
        return canonical_ip(value if isinstance(value, str) else "")
    except ValueError:
        _text("ip", value)
        raise RejectedError(Reason.MALFORMED.of("ip")) from None
