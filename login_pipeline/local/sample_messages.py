"""Sample login messages of our own making: what the real ones look like, and what goes wrong with them."""

import json
import random
import uuid
from collections.abc import Iterator

# One of these is among each 25 samples, in turn.
MALFORMED = (
    '{"foo": "oops_wrong_msg_type", "bar": "123"}',
    '{"user_id": "9f7e6f3a", "app_version": "2.3.0", "device_type": "ios", "ip": "300.1.2.3", "device_id": "1"}',
    '{"user_id": "9f7e6f3b", "app_version": 2.3, "device_type": "ios", "ip": "198.51.100.7", "device_id": "2"}',
    '{"user_id": "9f7e6f3c", "app_version": "2.3.0", "device_type": "an',
)
EACH = 25

_LOCALES = ("DE", "FR", "IN", "JP", "PH", "RU", "US", None)
_VERSIONS = ("0.2.6", "1.9", "2.3.0", "2.4", "3.0.1-beta.1", "4.12.0")


def sample_messages(count: int) -> Iterator[str]:
    """`count` message bodies, other ones each time, of the same people.

    People come back on the same device and from the same address, some have no locale, and one body in 25 is
    malformed. The addresses are from the blocks that are reserved for documentation (RFC 5737, RFC 3849).
    """
    same = random.Random("the same people each time")  # noqa: S311 - samples, not secrets
    people = [_person(same) for _ in range(max(1, count // 3))]
    for number in range(count):
        if number % EACH == EACH - 1:
            yield MALFORMED[number // EACH % len(MALFORMED)]
        else:
            yield json.dumps({**random.choice(people), "app_version": random.choice(_VERSIONS)})  # noqa: S311


def _person(source: random.Random) -> dict[str, str | None]:
    return {
        "user_id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
        "device_type": source.choice(("android", "ios")),
        "ip": source.choice((f"203.0.113.{source.randrange(1, 40)}", f"2001:db8::{source.randrange(1, 40):x}")),
        "locale": source.choice(_LOCALES),
        "device_id": f"{source.randrange(1000):03}-{source.randrange(100):02}-{source.randrange(10_000):04}",
    }
