"""What docs/privacy.md says of the methods, on a part of all addresses."""

from benchmarks.reverse_masks import Attack, addresses, attack, device_ids, try_part
from login_pipeline.masking import sha256_masks


def test_plain_hash_of_an_address_is_reversed_and_a_keyed_mask_is_not() -> None:
    clear = ["203.0.113.7", "203.0.0.1", "198.51.100.1"]
    figures = attack(Attack("a part", addresses, [203 << 8]), clear, "ip")
    assert figures["tried"] == 2**16
    assert figures["found behind sha256"] == 2  # the third is not in this part
    assert figures["found behind hmac-sha256"] == figures["found behind aes-siv"] == 0


def test_plain_hash_of_a_device_id_is_reversed() -> None:
    digest = bytes.fromhex(sha256_masks().device_id("593-47-5928"))
    found = try_part(device_ids, 593, frozenset({digest}))
    assert (found.values, found.tried) == ({digest: b"593-47-5928"}, 10**6)
