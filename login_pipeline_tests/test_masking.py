import hashlib
import hmac

import pytest

from login_pipeline.masking import TOKEN, WeakKeyError, decode_key, hmac_sha256_masks, key_id, sha256_masks

KEY = bytes.fromhex("9f1c0b7e5d3a48261f0e8d7c6b5a493827160594e3d2c1b0af9e8d7c6b5a4132")
OTHER_KEY = KEY[::-1]


def test_equal_values_match_and_different_ones_do_not() -> None:
    masks = hmac_sha256_masks(KEY)
    assert masks.ip("192.0.2.1") == masks.ip("192.0.2.1")
    assert masks.ip("192.0.2.1") != masks.ip("192.0.2.2")


@pytest.mark.parametrize("value", ["192.0.2.1", "593-47-5928", "ü" * 128])
def test_mask_is_a_token_that_fits_its_column(value: str) -> None:
    for masks in (hmac_sha256_masks(KEY), sha256_masks()):
        assert TOKEN.fullmatch(masks.ip(value))
        assert len(masks.device_id(value)) <= 256


def test_equal_strings_in_two_columns_do_not_match() -> None:
    masks = hmac_sha256_masks(KEY)
    assert masks.ip("same") != masks.device_id("same")


def test_masks_under_two_keys_do_not_match_and_say_so() -> None:
    one, other = hmac_sha256_masks(KEY).ip("192.0.2.1"), hmac_sha256_masks(OTHER_KEY).ip("192.0.2.1")
    assert one.split(".")[0] == key_id(KEY)
    assert other.split(".")[0] == key_id(OTHER_KEY)
    assert one.split(".")[1] != other.split(".")[1]


def test_keyed_mask_is_hmac_sha256_under_the_column_s_key() -> None:
    column_key = hmac.new(KEY, b"login-pipeline ip", hashlib.sha256).digest()
    expected = hmac.new(column_key, b"192.0.2.1", hashlib.sha256).hexdigest()
    assert hmac_sha256_masks(KEY).ip("192.0.2.1") == f"{key_id(KEY)}.{expected}"


def test_sha256_is_the_plain_hash() -> None:
    """FIPS 180-2, appendix B.1."""
    assert sha256_masks().ip("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_key_does_not_show_in_the_masks() -> None:
    masks = hmac_sha256_masks(KEY)
    assert KEY.hex() not in repr(masks) + masks.ip("192.0.2.1")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("changeme", "is not hexadecimal"),
        ("zz" * 32, "is not hexadecimal"),
        ("abc", "is not hexadecimal"),
        ("", "has 0 hexadecimal digits, fewer than 64"),
        ("9f1c0b7e5d3a4826", "has 16 hexadecimal digits, fewer than 64"),
        ("00" * 32, "is not random"),
        ("0123456789abcdef" * 4, "is not random"),
        ("deadbeef" * 8, "is not random"),
        (bytes(range(32)).hex(), "is not random"),
    ],
)
def test_key_that_protects_nothing_is_refused(key: str, why: str) -> None:
    with pytest.raises(WeakKeyError, match=why):
        decode_key(key)


def test_random_key_is_taken() -> None:
    assert decode_key(f" {KEY.hex().upper()}\n") == KEY
