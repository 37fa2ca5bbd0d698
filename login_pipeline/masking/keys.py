"""The keys that masks are made with: how they are written, and which protect nothing."""

import hmac
import re
import secrets
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

# RFC 2104, section 3: an HMAC key shorter than the hash's output weakens it.
MIN_KEY_BYTES = 32
# Fewer never happen in 32 random bytes, and often in typed, repeated and example keys.
MIN_DISTINCT_BYTES = 12
ID_DIGITS = 8

_BETWEEN_KEYS = re.compile(r"[\s,]+")
_DATED = re.compile(r"(\d{4}-\d\d-\d\d):(.*)", re.ASCII)


class WeakKeyError(ValueError):
    """The key cannot protect anything; the message says why, and never quotes it."""


@dataclass(frozen=True, slots=True)
class MaskingKey:
    """A secret, and the day on which it was made where that is known."""

    secret: bytes = field(repr=False)
    made_on: date | None = None

    @property
    def id(self) -> str:
        """Names the key without telling it: equal keys have equal ids, so that a rotation shows in the table."""
        return "k" + self.sub_key("login-pipeline key id").hex()[:ID_DIGITS]

    def sub_key(self, purpose: str, digest: str = "sha256") -> bytes:
        """A key for one purpose, from which neither this one nor another purpose's can be had (RFC 2104)."""
        return hmac.digest(self.secret, purpose.encode(), digest)

    def written(self) -> str:
        """The key as `read_key_ring` takes it: a secret in clear."""
        return f"{self.made_on}:{self.secret.hex()}" if self.made_on else self.secret.hex()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that masks, and older ones that are still needed for what they have masked."""

    active: MaskingKey
    older: tuple[MaskingKey, ...] = ()

    def __iter__(self) -> Iterator[MaskingKey]:
        yield self.active
        yield from self.older

    def find(self, key_id: str) -> MaskingKey | None:
        """The key with this id."""
        return next((key for key in self if key.id == key_id), None)

    def written(self) -> str:
        """The keys as `read_key_ring` takes them, one a line, the active one first: secrets in clear."""
        return "".join(f"{key.written()}\n" for key in self)

    def rotated(self, today: date) -> "KeyRing":
        """The same keys behind a new one."""
        return KeyRing(new_key(today), tuple(self))


def subject_tokens(key: MaskingKey) -> Callable[[str], str]:
    """Makes the token by which a record names a user, `<key id>.<HMAC-SHA-256 of the user_id>`, for who needs many."""
    key_id, sub_key = key.id, key.sub_key("login-pipeline erasure")
    return lambda user_id: f"{key_id}.{hmac.digest(sub_key, user_id.encode(), 'sha256').hex()}"


def new_key(today: date) -> MaskingKey:
    """A random key."""
    return MaskingKey(secrets.token_bytes(MIN_KEY_BYTES), today)


def read_key_ring(text: str) -> KeyRing:
    """The keys in `text`, between blanks, line ends or commas; the first is active.

    Each is 64 or more hexadecimal digits, after the date on which it was made and a colon, or without.

    Raises:
        WeakKeyError: there is none, or one is not hexadecimal, shorter than 32 bytes, or plainly not random.
    """
    texts = [each for each in _BETWEEN_KEYS.split(text) if each]
    if not texts:
        raise WeakKeyError("has no key in it")
    keys = [_numbered(each, number, len(texts)) for number, each in enumerate(texts, 1)]
    if len({key.id for key in keys}) < len(keys):
        raise WeakKeyError("has the same key twice")
    return KeyRing(keys[0], tuple(keys[1:]))


def _numbered(text: str, number: int, count: int) -> MaskingKey:
    try:
        return _read_key(text)
    except WeakKeyError as problem:
        raise WeakKeyError(str(problem) if count == 1 else f"(key {number} of {count}) {problem}") from None


def _read_key(text: str) -> MaskingKey:
    dated = _DATED.fullmatch(text)
    try:
        made_on = date.fromisoformat(dated[1]) if dated else None
    except ValueError:
        raise WeakKeyError("has a date that is not in the calendar") from None
    return MaskingKey(_secret(dated[2] if dated else text), made_on)


def _secret(digits: str) -> bytes:
    if len(digits) % 2 or not set(digits) <= set(string.hexdigits):
        raise WeakKeyError("is not hexadecimal")
    secret = bytes.fromhex(digits)
    if len(secret) < MIN_KEY_BYTES:
        raise WeakKeyError(f"has {len(digits)} hexadecimal digits, fewer than {2 * MIN_KEY_BYTES}")
    if len(set(secret)) < MIN_DISTINCT_BYTES or _is_counted(secret) or _is_repeated(secret) or _is_words(secret):
        raise WeakKeyError("is not random")
    return secret


def _is_counted(secret: bytes) -> bool:
    """Whether most bytes are the one before plus the same step, as in 000102..., 112233... or many zeros."""
    steps = Counter((after - before) % 256 for before, after in pairwise(secret))
    return max(steps.values()) > len(secret) // 2


def _is_repeated(secret: bytes) -> bool:
    """Whether a part of it, over and over, is all of it."""
    return secret in (secret + secret)[1:-1]


def _is_words(secret: bytes) -> bool:
    """Whether it is text in ASCII, such as a passphrase: 32 random bytes never are."""
    return all(0x20 <= byte < 0x7F for byte in secret)
