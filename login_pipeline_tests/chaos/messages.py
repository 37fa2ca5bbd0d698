"""Messages to send, with the place where each must end; their personal data is recognised wherever it is."""

import json
import random
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from login_pipeline_tests.bodies import POISON

# Each ip and device_id that is sent matches. The addresses are from blocks for documentation (RFC 5737, RFC 3849).
PERSONAL_DATA = re.compile(rb"203\.0\.113\.\d|2001:db8:c1ea:|in-clear-\d")

# By reason: bodies that are no logins. Those that have an ip or a device_id that is right have ours.
MALFORMED: dict[str, list[str]] = defaultdict(list)
for reason, body in POISON:
    MALFORMED[reason].append(body.replace("199.172.111.135", "203.0.113.7").replace("593-47-5928", "in-clear-7"))


class Draft(NamedTuple):
    """A message to send. No other body has its `user_id`, so a row can be counted without believing the inbox."""

    body: str
    user_id: str
    valid: bool


def drafts(source: random.Random, count: int) -> Iterator[Draft]:
    """`count` messages: one in five is malformed, for a reason drawn each time, and two have equal bodies."""
    for number in range(count):
        yield malformed(source, source.choice(list(MALFORMED))) if number % 5 == 4 else _login(source)
    if count > 1:
        twin = _login(source)
        yield twin
        yield twin


def logins(source: random.Random, count: int, *, prefix: str = "") -> list[Draft]:
    """`count` valid messages whose user_id begins with `prefix`."""
    return [_login(source, prefix) for _ in range(count)]


def malformed(source: random.Random, reason: str) -> Draft:
    """A message that is rejected for this reason. Its user_id is nobody's: no row may have it."""
    return Draft(source.choice(MALFORMED[reason]), _user_id(source), valid=False)


def _login(source: random.Random, prefix: str = "") -> Draft:
    user_id = prefix + _user_id(source)
    ip = source.choice((f"203.0.113.{source.randrange(256)}", f"2001:db8:c1ea::{source.getrandbits(16):x}:1"))
    login = {
        "user_id": user_id,
        "app_version": f"{source.randrange(9)}.{source.randrange(20)}.0",
        "device_type": source.choice(("android", "ios")),
        "ip": ip,
        "locale": source.choice(("DE", "JP", None)),
        "device_id": f"in-clear-{source.getrandbits(40)}",
    }
    return Draft(json.dumps(login), user_id, valid=True)


def _user_id(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
