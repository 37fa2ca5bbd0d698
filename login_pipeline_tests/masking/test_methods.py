import hashlib
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from login_pipeline.masking.keys import KeyRing, MaskingKey
from login_pipeline.masking.methods import (
    MAX_VALUE_BYTES,
    TOKEN,
    Masks,
    NotReversibleError,
    aes_siv_masks,
    hmac_sha256_masks,
    sha256_masks,
    unmask,
)

KEY = MaskingKey(bytes.fromhex("9f1c0b7e5d3a48261f0e8d7c6b5a493827160594e3d2c1b0af9e8d7c6b5a4132"))
OTHER_KEY = MaskingKey(KEY.secret[::-1])
METHODS = [lambda: hmac_sha256_masks(KEY), lambda: aes_siv_masks(KEY), sha256_masks]
KEYED = [hmac_sha256_masks, aes_siv_masks]


@pytest.mark.parametrize("method", METHODS)
def test_equal_values_match_and_different_ones_do_not(method: Callable[[], Masks]) -> None:
    assert method().ip("192.0.2.1") == method().ip("192.0.2.1")
    assert method().ip("192.0.2.1") != method().ip("192.0.2.2")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", ["192.0.2.1", "593-47-5928", "\N{SNOWMAN}" * (MAX_VALUE_BYTES // 3)])
def test_mask_is_a_token_that_fits_its_column(method: Callable[[], Masks], value: str) -> None:
    assert TOKEN.fullmatch(method().ip(value))
    assert len(method().device_id(value)) <= 256


@pytest.mark.parametrize("masks_under", KEYED)
def test_equal_strings_in_two_columns_do_not_match(masks_under: Callable[[MaskingKey], Masks]) -> None:
    masks = masks_under(KEY)
    assert masks.ip("same") != masks.device_id("same")


@pytest.mark.parametrize("masks_under", KEYED)
def test_masks_under_two_keys_do_not_match_and_say_so(masks_under: Callable[[MaskingKey], Masks]) -> None:
    one, other = masks_under(KEY).ip("192.0.2.1"), masks_under(OTHER_KEY).ip("192.0.2.1")
    assert (one.split(".")[0], other.split(".")[0]) == (KEY.id, OTHER_KEY.id)
    assert one.split(".")[-1] != other.split(".")[-1]


@pytest.mark.parametrize("masks_under", KEYED)
def test_key_does_not_show_in_the_masks(masks_under: Callable[[MaskingKey], Masks]) -> None:
    masks = masks_under(KEY)
    assert KEY.secret.hex() not in repr(KEY) + repr(masks) + masks.ip("192.0.2.1")


def test_hmac_sha256_is_hmac_sha256_under_the_column_s_key() -> None:
    column_key = hmac.new(KEY.secret, b"login-pipeline ip", hashlib.sha256).digest()
    expected = hmac.new(column_key, b"192.0.2.1", hashlib.sha256).hexdigest()
    assert hmac_sha256_masks(KEY).ip("192.0.2.1") == f"{KEY.id}.{expected}"


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd"
            "caeab1a34d4a6b4b636e070a38bce737",
        ),
    ],
)
def test_sub_keys_are_hmac(digest: str, expected: str) -> None:
    """RFC 4231, test case 2."""
    assert MaskingKey(b"Jefe").sub_key("what do ya want for nothing?", digest).hex() == expected


def test_the_cipher_of_aes_siv_is_rfc_5297_s() -> None:
    """RFC 5297, A.1."""
    cipher = AESSIV(bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
    associated = [bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")]
    sealed = cipher.encrypt(bytes.fromhex("112233445566778899aabbccddee"), associated)
    assert sealed.hex() == "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c"


def test_aes_siv_is_that_cipher_under_the_column_s_key_over_the_padded_value() -> None:
    key = hmac.digest(KEY.secret, b"login-pipeline ip aes-siv", "sha512")
    sealed = urlsafe_b64decode(aes_siv_masks(KEY).ip("192.0.2.1").removeprefix(f"{KEY.id}.siv."))
    assert AESSIV(key).decrypt(sealed, None) == b"192.0.2.1\x80".ljust(32, b"\0")


def test_aes_siv_does_not_show_how_long_an_ipv4_address_is() -> None:
    masks = aes_siv_masks(KEY)
    assert len(masks.ip("1.1.1.1")) == len(masks.ip("255.255.255.255"))


def test_sha256_is_the_plain_hash() -> None:
    """FIPS 180-2, appendix B.1."""
    assert sha256_masks().ip("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_plain_hash_is_found_by_trying_every_address_and_a_keyed_mask_with_its_key_only() -> None:
    """As docs/privacy.md says of all 2**32 addresses, on 256 of them."""
    clear = "203.0.113.7"
    addresses = [f"203.0.113.{last}" for last in range(256)]
    plain = {hashlib.sha256(address.encode()).hexdigest(): address for address in addresses}
    assert plain[sha256_masks().ip(clear)] == clear
    mask = hmac_sha256_masks(KEY).ip(clear).split(".")[-1]
    for guessed, found in ((KEY, clear), (OTHER_KEY, None)):
        sub_key = guessed.sub_key("login-pipeline ip")
        keyed = {hmac.digest(sub_key, address.encode(), "sha256").hex(): address for address in addresses}
        assert keyed.get(mask) == found
    assert mask not in plain


@given(st.text(max_size=MAX_VALUE_BYTES // 4), st.sampled_from(["ip", "device_id"]))
def test_aes_siv_is_turned_back_by_the_holder_of_the_key(value: str, field: str) -> None:
    token = getattr(aes_siv_masks(OTHER_KEY), field)(value)
    assert unmask(token, KeyRing(KEY, (OTHER_KEY,))) == (field, value)


def _altered(token: str) -> str:
    return token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]


def _other_text_of_the_same_bytes(token: str) -> str:
    """80 bytes are 106 characters of base64 and a bit more: the last bits of the last one mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (hmac_sha256_masks(KEY).ip("192.0.2.1"), "hmac-sha256 cannot be turned back, with its key either"),
        (sha256_masks().ip("192.0.2.1"), "sha256 cannot be turned back: it is a hash"),
        ("192.0.2.1", "it is not one of our masks"),
        (aes_siv_masks(OTHER_KEY).ip("192.0.2.1"), f"its key {OTHER_KEY.id} is not among the masking keys"),
        (_altered(aes_siv_masks(KEY).ip("192.0.2.1")), f"it was not made with key {KEY.id}, or it was altered"),
        (aes_siv_masks(OTHER_KEY).ip("192.0.2.1").replace(OTHER_KEY.id, KEY.id), "it was not made with key"),
        (f"{KEY.id}.siv.{'A' * 65}", "it was not made with key"),
        (_other_text_of_the_same_bytes(aes_siv_masks(KEY).device_id("x" * 40)), "it was not made with key"),
    ],
)
def test_token_that_cannot_be_turned_back_says_why_and_is_not_quoted(token: str, why: str) -> None:
    with pytest.raises(NotReversibleError, match=why) as refused:
        unmask(token, KeyRing(KEY))
    assert token not in str(refused.value)
