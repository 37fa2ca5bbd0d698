from datetime import date
from hashlib import sha384

import pytest

from login_pipeline.masking.keys import MaskingKey, WeakKeyError, new_key, read_key_ring

ONE, TWO = sha384(b"one key").hexdigest()[:64], sha384(b"another key").hexdigest()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("changeme", "is not hexadecimal"),
        ("zz" * 32, "is not hexadecimal"),
        ("abc", "is not hexadecimal"),
        ("", "has no key in it"),
        (" \n,", "has no key in it"),
        ("9f1c0b7e5d3a4826", "has 16 hexadecimal digits, fewer than 64"),
        ("00" * 32, "is not random"),
        ("0123456789abcdef" * 4, "is not random"),
        ("deadbeef" * 8, "is not random"),
        (bytes(range(32)).hex(), "is not random"),
        ("d8578edf8458ce06fbc5bb76a58c5ca4" * 2, "is not random"),
        ("00" * 19 + ONE[:26], "is not random"),
        (b"correct horse battery staple ....".hex(), "is not random"),
        (f"2026-02-30:{ONE}", "has a date that is not in the calendar"),
        (f"{ONE} {ONE}", "has the same key twice"),
        (f"{ONE},00", r"\(key 2 of 2\) has 2 hexadecimal digits"),
    ],
)
def test_key_that_protects_nothing_is_refused_and_not_quoted(key: str, why: str) -> None:
    with pytest.raises(WeakKeyError, match=why) as refused:
        read_key_ring(key)
    assert ONE not in str(refused.value)


def test_random_key_is_taken_in_any_case_and_the_blanks_around_it() -> None:
    assert read_key_ring(f" {ONE.upper()}\n").active == MaskingKey(bytes.fromhex(ONE))


def test_first_key_is_active_and_the_others_are_found_by_their_id() -> None:
    ring = read_key_ring(f"2026-11-22:{ONE}\n{TWO}\n")
    assert ring.active == MaskingKey(bytes.fromhex(ONE), date(2026, 11, 22))
    assert [key.id for key in ring.older] == [MaskingKey(bytes.fromhex(TWO)).id]
    assert ring.find(ring.older[0].id) == ring.older[0]
    assert ring.find("k00000000") is None


def test_what_is_written_is_read_again() -> None:
    ring = read_key_ring(TWO).rotated(date(2026, 11, 22))
    assert read_key_ring(ring.written()) == ring
    assert ring.active.made_on == date(2026, 11, 22)


def test_no_two_new_keys_are_the_same() -> None:
    assert new_key(date(2026, 11, 22)).id != new_key(date(2026, 11, 22)).id
