"""Messages to send, with the place where each must end; their personal data is recognised wherever it stands."""

import json
import random
import re
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Each ip and device_id that is sent matches. The addresses are from blocks for documentation (RFC 5737, RFC 3849).
PERSONAL_DATA = re.compile(rb"203\.0\.113\.\d|2001:db8:c1ea:|in-clear-\d")


class Draft(NamedTuple):
    """A message to send. No other body has its `user_id`, so a row can be counted without believing the inbox."""

    body: str
    user_id: str
    valid: bool


def drafts(source: random.Random, count: int) -> Iterator[Draft]:
    """`count` messages: one in five is malformed, each time for another reason, and two have equal bodies."""
    for number in range(count):
        draft = _draft(source)
        if number % 5 == 4:
            yield _malformed(draft, source)
        else:
            yield draft
    if count > 1:
        twin = _draft(source)
        yield twin
        yield twin


def logins(source: random.Random, count: int, *, prefix: str = "") -> list[Draft]:
    """`count` valid messages whose user_id begins with `prefix`."""
    return [_draft(source, prefix) for _ in range(count)]


def _draft(source: random.Random, prefix: str = "") -> Draft:
    user_id = prefix + str(uuid.UUID(int=source.getrandbits(128), version=4))
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


def _malformed(draft: Draft, source: random.Random) -> Draft:
    return draft._replace(body=source.choice(_FAULTY)(draft.body), valid=False)


def _with(**fields: object) -> Callable[[str], str]:
    """The body with other values in these fields; without those that are `...`."""
    return lambda body: json.dumps(
        {name: value for name, value in {**json.loads(body), **fields}.items() if value is not ...}
    )


_FAULTY: tuple[Callable[[str], str], ...] = (
    _with(user_id=...),
    _with(user_id="203.0.113.7"),
    _with(app_version=2.3),
    _with(app_version="v2"),
    _with(ip="203.0.113.300"),
    _with(ip=["203.0.113.7"]),
    _with(device_id=593475928),
    _with(locale="in-clear-1" * 9),
    _with(device_type="in-clear-1\x00"),
    lambda body: body[:-9],
    lambda body: f"[{body}]",
    lambda body: f'{body[:-1]}, "ip": "203.0.113.7"}}',
    lambda _: "in-clear-1",
)
