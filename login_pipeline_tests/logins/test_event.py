from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from login_pipeline.logins.event import LoginEvent, Rejection, create_date, parse_login
from login_pipeline.masking.methods import MAX_VALUE_BYTES
from login_pipeline_tests.bodies import POISON, Poison
from login_pipeline_tests.fuzz.invariants import require_body

Body = Callable[..., str]


def login(body: str) -> LoginEvent:
    parsed = parse_login(body)
    assert isinstance(parsed, LoginEvent), parsed
    return parsed


def reason(body: str) -> str:
    parsed = parse_login(body)
    assert isinstance(parsed, Rejection), parsed
    return parsed.reason


def test_valid_message_is_a_login(body: Body) -> None:
    assert login(body()) == LoginEvent(
        user_id="424cdd21-063a-43a7-b91b-7ca1a833afae",
        device_type="android",
        ip="199.172.111.135",
        device_id="593-47-5928",
        locale="RU",
        app_version=2,
        unknown_keys=0,
    )


@pytest.mark.parametrize("locale", [None, ..., "", " "])
def test_absent_null_and_blank_locale_are_the_same(body: Body, locale: object) -> None:
    assert login(body(locale=locale)).locale is None


def test_unknown_keys_are_ignored_and_counted(body: Body) -> None:
    assert login(body(colour="red", size=1)).unknown_keys == 2


@pytest.mark.parametrize(
    ("version", "major"),
    [
        *(("2", 2), ("2.3", 2), ("0.2.6", 0), ("6.02", 6), ("2.00", 2), ("1.2.3.4", 1), ("2147483647.0", 2147483647)),
        *(("3.0.1-beta.1", 3), ("3.0.1+build.5", 3), ("3.0.1-rc.1+5", 3)),
    ],
)
def test_app_version_becomes_its_major_version(body: Body, version: str, major: int) -> None:
    assert login(body(app_version=version)).app_version == major


@pytest.mark.parametrize(
    ("ip", "canonical"),
    [
        ("199.172.111.135", "199.172.111.135"),
        (" 199.172.111.135 ", "199.172.111.135"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_equal_addresses_have_one_spelling(body: Body, ip: str, canonical: str) -> None:
    assert login(body(ip=ip)).ip == canonical


@pytest.mark.parametrize("poison", POISON, ids=[f"{number}-{poison.reason}" for number, poison in enumerate(POISON)])
def test_what_is_no_login_is_rejected_with_its_reason_by_both_decoders(poison: Poison) -> None:
    assert require_body(poison.body) == poison.reason


@pytest.mark.parametrize(
    ("field", "length"), [("user_id", 128), ("device_type", 32), ("locale", 32), ("device_id", 128)]
)
def test_longest_value_is_a_login_and_a_longer_one_is_rejected(body: Body, field: str, length: int) -> None:
    character = "x" if field == "device_id" else "ü"
    login(body(**{field: character * length}))
    assert reason(body(**{field: character * (length + 1)})) == f"too_long.{field}"


def test_device_id_that_no_reversible_mask_could_hold_is_rejected(body: Body) -> None:
    login(body(device_id="ü" * (MAX_VALUE_BYTES // 2)))
    assert reason(body(device_id="ü" * (MAX_VALUE_BYTES // 2 + 1))) == "too_long.device_id"


@given(st.ip_addresses())
def test_every_address_is_taken_and_its_canonical_spelling_stays(body: Body, address: object) -> None:
    canonical = login(body(ip=str(address))).ip
    assert login(body(ip=canonical)).ip == canonical


def test_create_date_is_the_utc_date_of_sending() -> None:
    assert create_date(1_767_225_599_999) == date(2025, 12, 31)
    assert create_date(1_767_225_600_000) == date(2026, 1, 1)
