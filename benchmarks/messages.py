"""The messages that are sent to a server which cannot fill itself: as the real ones are, one in a hundred no login."""

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

MALFORMED = '{"foo": "oops_wrong_msg_type", "bar": "123"}'
EACH = 100
"""One of so many is malformed. Source: one of the 100 real messages that the project began with."""

_LOCALES = ("DE", "FR", "IN", "JP", "PH", "RU", "US", None)
_VERSIONS = ("0.2.6", "1.9", "2.3.0", "2.4", "4.12.0")


class Sent(NamedTuple):
    """How many logins were sent, each of another user, and how many messages that are none."""

    logins: int
    malformed: int


def bodies(count: int, seed: int) -> Iterator[str]:
    """The same bodies for the same seed."""
    source = random.Random(seed)  # noqa: S311 - samples, not secrets
    for number in range(count):
        if number % EACH == EACH - 1:
            yield MALFORMED
            continue
        yield json.dumps(
            {
                "user_id": f"{source.getrandbits(64):016x}-{number}",
                "app_version": source.choice(_VERSIONS),
                "device_type": source.choice(("android", "ios")),
                "ip": ".".join(str(source.randrange(1, 255)) for _ in range(4)),
                "locale": source.choice(_LOCALES),
                "device_id": f"{number % 1000:03}-{source.randrange(100):02}-{source.randrange(10_000):04}",
            }
        )


def sent(count: int) -> Sent:
    """What `bodies` has in it."""
    return Sent(count - count // EACH, count // EACH)
