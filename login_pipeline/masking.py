"""The masks for personal data and their keys. Pure: no I/O, no Dagster.

Equal values have equal masks, within a column and under one key. ip and device_id are masked under separate
sub-keys, so that equal strings in the two columns do not match.
"""

import hmac
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

MIN_KEY_BYTES = 32
"""RFC 2104, section 3: an HMAC key shorter than the hash's output weakens it."""
MIN_DISTINCT_BYTES = 12
"""Fewer never happen in 32 random bytes, and often in typed, repeated and example keys."""

_KEY_ID_DIGITS = 8

TOKEN = re.compile(rf"(?:k[0-9a-f]{{{_KEY_ID_DIGITS}}}\.)?[0-9a-f]{{64}}")
"""What every mask looks like: a hash, with the id of its key before it where there is one."""

Mask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Masks:
    """One mask a column; each takes the canonical value in clear and gives the text to store."""

    ip: Mask
    device_id: Mask


class WeakKeyError(ValueError):
    """The key cannot protect anything; the message says why, and never quotes it."""


def decode_key(hexadecimal: str) -> bytes:
    """The key's bytes.

    Raises:
        WeakKeyError: it is not hexadecimal, shorter than 32 bytes, or plainly not random.
    """
    digits = hexadecimal.strip()
    if len(digits) % 2 or not set(digits) <= set(string.hexdigits):
        raise WeakKeyError("is not hexadecimal")
    key = bytes.fromhex(digits)
    if len(key) < MIN_KEY_BYTES:
        raise WeakKeyError(f"has {len(digits)} hexadecimal digits, fewer than {2 * MIN_KEY_BYTES}")
    if len(set(key)) < MIN_DISTINCT_BYTES or _is_counted(key):
        raise WeakKeyError("is not random")
    return key


def key_id(key: bytes) -> str:
    """Names a key without telling it: equal keys have equal ids, so that a rotation shows in the table."""
    return "k" + _hmac(key, "login-pipeline key id").hex()[:_KEY_ID_DIGITS]


def hmac_sha256_masks(key: bytes) -> Masks:
    """Keyed masks, `<key id>.<64 hexadecimal digits>`: without the key nothing can be tried out (RFC 2104)."""
    name = key_id(key)

    def under(sub_key: bytes) -> Mask:
        return lambda value: f"{name}.{_hmac(sub_key, value).hex()}"

    return Masks(ip=under(_hmac(key, "login-pipeline ip")), device_id=under(_hmac(key, "login-pipeline device_id")))


def sha256_masks() -> Masks:
    """Plain hashes, 64 hexadecimal digits: no protection for an ip, whose 2**32 values are soon tried out."""

    def mask(value: str) -> str:
        return sha256(value.encode()).hexdigest()

    return Masks(ip=mask, device_id=mask)


def _hmac(key: bytes, value: str) -> bytes:
    return hmac.digest(key, value.encode(), "sha256")


def _is_counted(key: bytes) -> bool:
    """Whether each byte is the one before it plus the same step, as in 000102... or 112233..."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(steps) == 1
