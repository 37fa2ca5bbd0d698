"""Login messages of our own making, always the same: what a benchmark's queue is filled with.

They have the shape of real ones: seven in ten have a locale, half the versions have three parts, every address is an
IPv4 address. No two have the same address or the same device id, so that nothing can be faster for having seen one.
"""

import random
from collections.abc import Iterator

from login_pipeline_tests.sqs_server.queue import Queue, message_json
from login_pipeline_tests.sqs_server.service import now

ADDRESSES = 2**32
DEVICE_IDS = 10**9
# Odd and no multiple of five, so that its multiples pass through all of both before one comes again.
_STEP = 618_033_983
_CODES = "BR", "CA", "CN", "DE", "FR", "ID", "IN", "KE", "KR", "MX", "NG", "PH", "PL", "PT", "RU", "TH", "US", "VN"
_LOCALES = ["null"] * 8 + [f'"{code}"' for code in _CODES]


def fill(queue: Queue, messages: int) -> None:
    """Puts so many login messages on the queue, as if they had been sent just now."""
    source = random.Random(1)  # noqa: S311 - samples, not secrets
    sent = now()
    for body in login_bodies(messages, source):
        escaped = body.replace('"', '\\"')
        queue.put(message_json(_uuid(f"{source.getrandbits(128):032x}"), body, f'"{escaped}"'.encode()), sent)


def login_bodies(count: int, source: random.Random) -> Iterator[str]:
    """Bodies of valid login messages."""
    address, device = source.randrange(ADDRESSES), source.randrange(DEVICE_IDS)
    for _ in range(count):
        bits = source.getrandbits(160)
        address, device = (address + _STEP) % ADDRESSES, (device + _STEP) % DEVICE_IDS
        user = _uuid(f"{bits & (1 << 128) - 1:032x}")
        bits >>= 128
        version = f"{bits & 7}.{bits >> 3 & 7}" + (f".{bits >> 6 & 7}" if bits & 512 else "")
        yield (
            f'{{"user_id": "{user}", '
            f'"app_version": "{version}", "device_type": "{"ios" if bits & 1024 else "android"}", '
            f'"ip": "{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}", '
            f'"locale": {_LOCALES[(bits >> 11) % len(_LOCALES)]}, '
            f'"device_id": "{device // 1_000_000:03}-{device // 10_000 % 100:02}-{device % 10_000:04}"}}'
        )


def _uuid(digits: str) -> str:
    """A random UUID (RFC 9562, version 4) of 32 random digits; the module uuid takes three times as long."""
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
