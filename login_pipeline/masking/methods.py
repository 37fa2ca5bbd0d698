"""The masks for personal data. Pure: no I/O, no Dagster.

Equal values have equal masks, within a column and under one key. ip and device_id are masked under separate
sub-keys, so that equal strings in the two columns do not match.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from login_pipeline.masking.keys import ID_DIGITS, KeyRing, MaskingKey

# Bytes. aes-siv shows how long a value is, so values are made equally long, up to a multiple of this.
PADDED_TO = 32
# In UTF-8: what the longest aes-siv token that fits the table's 256 characters holds, less a byte of padding.
MAX_VALUE_BYTES = 159

_KEY_ID = rf"k[0-9a-f]{{{ID_DIGITS}}}"
_HASH = re.compile(r"[0-9a-f]{64}")
_HMAC = re.compile(rf"{_KEY_ID}\.{_HASH.pattern}")
_AES_SIV = re.compile(rf"({_KEY_ID})\.siv\.([A-Za-z0-9_-]{{64,}})")
# What every mask looks like: a hash, with the id of its key before it where there is one, or an aes-siv token.
TOKEN = re.compile("|".join(each.pattern for each in (_HASH, _HMAC, _AES_SIV)))

Mask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Masks:
    """One mask a column; each takes the canonical value in clear and gives the text to store."""

    ip: Mask
    device_id: Mask


class NotReversibleError(ValueError):
    """The token cannot be turned back; the message says why, and never quotes it."""


def hmac_sha256_masks(key: MaskingKey) -> Masks:
    """Keyed masks, `<key id>.<64 hexadecimal digits>`: without the key nothing can be tried out (RFC 2104)."""

    def under(sub_key: bytes) -> Mask:
        before, keyed = f"{key.id}.", HMAC(sub_key, SHA256())  # a copy has the key's part of the work done

        def mask(value: str) -> str:
            own = keyed.copy()
            own.update(value.encode())
            return before + own.finalize().hex()

        return mask

    return Masks(ip=under(key.sub_key("login-pipeline ip")), device_id=under(key.sub_key("login-pipeline device_id")))


def aes_siv_masks(key: MaskingKey) -> Masks:
    """Reversible masks, `<key id>.siv.<base64url>`: deterministic, authenticated encryption (RFC 5297)."""

    def under(cipher: AESSIV) -> Mask:
        name = key.id
        return lambda value: _written(name, cipher.encrypt(_padded(value), None))

    return Masks(ip=under(_cipher(key, "ip")), device_id=under(_cipher(key, "device_id")))


def sha256_masks() -> Masks:
    """Plain hashes, 64 hexadecimal digits: no protection for an ip, whose 2**32 values are soon tried out."""

    def mask(value: str) -> str:
        return sha256(value.encode()).hexdigest()

    return Masks(ip=mask, device_id=mask)


def unmask(token: str, ring: KeyRing) -> tuple[str, str]:
    """The field, `ip` or `device_id`, and its value in clear.

    Raises:
        NotReversibleError: it is a hash or no token, its key is not in the ring, or it was altered.
    """
    encrypted = _AES_SIV.fullmatch(token)
    if encrypted is None:
        raise NotReversibleError(_why_not(token))
    key = ring.find(encrypted[1])
    if key is None:
        raise NotReversibleError(f"its key {encrypted[1]} is not among the masking keys")
    for field in ("ip", "device_id"):
        with suppress(InvalidTag, binascii.Error):  # of the other column, or forged
            sealed = urlsafe_b64decode(encrypted[2] + "=" * (-len(encrypted[2]) % 4))
            value = _unpadded(_cipher(key, field).decrypt(sealed, None))
            if _written(key.id, sealed) == token:  # base64 has more than one text for some bytes
                return field, value
    raise NotReversibleError(f"it was not made with key {encrypted[1]}, or it was altered")


def _why_not(token: str) -> str:
    if _HMAC.fullmatch(token):
        return "hmac-sha256 cannot be turned back, with its key either: it is a hash"
    if _HASH.fullmatch(token):
        return "sha256 cannot be turned back: it is a hash"
    return "it is not one of our masks"


def _cipher(key: MaskingKey, field: str) -> AESSIV:
    """AES-256-SIV: its key is two keys of 32 bytes."""
    return AESSIV(key.sub_key(f"login-pipeline {field} aes-siv", "sha512"))


def _written(key_id: str, sealed: bytes) -> str:
    return f"{key_id}.siv.{urlsafe_b64encode(sealed).rstrip(b'=').decode()}"


def _padded(value: str) -> bytes:
    """ISO/IEC 7816-4: a byte 0x80, then zeros."""
    text = value.encode() + b"\x80"
    return text + bytes(-len(text) % PADDED_TO)


def _unpadded(text: bytes) -> str:
    return text.rstrip(b"\0")[:-1].decode()
