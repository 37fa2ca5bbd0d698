"""The reason codes with which a message is on the dead-letter queue. Somebody else wrote any other."""

import re

from psycopg2 import errorcodes

from login_pipeline.logins.event import FIELDS
from login_pipeline.postgres.copy import FORGOTTEN, LEFT_OUT

_OF_THE_BODY = {"not_json", "not_an_object", "duplicate_key"}
_OF_A_FIELD = {
    *("missing", "wrong_type", "empty", "too_long", "bad_character", "ip_in_clear", "malformed", "out_of_range"),
}
_REJECTED = _OF_THE_BODY | {f"{kind}.{field}" for kind in _OF_A_FIELD for field in FIELDS}
_CONDITIONS = {name.lower() for name in vars(errorcodes) if name.isupper()} | {LEFT_OUT}
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
"""A trigger can raise one that PostgreSQL has no name for. Source: PostgreSQL documentation, PL/pgSQL, RAISE."""


def is_rejection(reason: str) -> bool:
    """Whether the contract (logins/event.py) rejects messages with this code."""
    return reason in _REJECTED


def is_reason(reason: str) -> bool:
    """Whether this pipeline puts messages on the dead-letter queue with this code."""
    of, _, condition = reason.partition(".")
    refused = of == "refused" and (condition in _CONDITIONS or _SQLSTATE.fullmatch(condition) is not None)
    return refused or is_rejection(reason) or reason == FORGOTTEN
