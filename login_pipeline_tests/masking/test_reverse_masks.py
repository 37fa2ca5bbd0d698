"""What docs/privacy.md says of the methods, on a part of all addresses."""

from datetime import date

from login_pipeline.masking.keys import new_key
from login_pipeline.masking.methods import hmac_sha256_masks, sha256_masks
from login_pipeline_tests.masking.reverse_masks import Attack, addresses, attack, device_ids, try_part

KEY = new_key(date(2026, 1, 1))
PART = 203 << 8


def test_plain_hash_of_an_address_is_reversed_and_a_keyed_mask_is_not() -> None:
    clear = ["203.0.113.7", "203.0.0.1", "198.51.100.1"]
    figures = attack(Attack("a part", addresses, [PART]), clear, "ip", KEY)
    assert figures["tried"] == 2**16
    assert figures["found behind sha256"] == 2  # the third is not in this part
    assert figures["found behind hmac-sha256"] == 0


def test_keyed_mask_is_reversed_with_its_key_and_with_no_other() -> None:
    digest = bytes.fromhex(hmac_sha256_masks(KEY).ip("203.0.113.7").split(".")[1])
    guessed, wrong = (key.sub_key("login-pipeline ip") for key in (KEY, new_key(date(2026, 1, 1))))
    assert try_part(addresses, PART, frozenset({digest}), guessed).values == {digest: b"203.0.113.7"}
    assert try_part(addresses, PART, frozenset({digest}), wrong).values == {}


def test_plain_hash_of_a_device_id_is_reversed() -> None:
    digest = bytes.fromhex(sha256_masks().device_id("593-47-5928"))
    found = try_part(device_ids, 593, frozenset({digest}))
    assert (found.values, found.tried) == ({digest: b"593-47-5928"}, 10**6)
