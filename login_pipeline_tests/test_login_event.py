import json
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from login_pipeline.login_event import LoginEvent, Rejection, create_date, parse_login

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


@pytest.mark.parametrize("field", ["user_id", "device_type", "locale"])
@pytest.mark.parametrize("ip", ["192.0.2.1", " 2001:DB8::1 "])
def test_ip_in_a_field_that_is_stored_as_it_is_is_rejected(body: Body, field: str, ip: str) -> None:
    assert reason(body(**{field: ip})) == f"ip_in_clear.{field}"


def test_unknown_keys_are_ignored_and_counted(body: Body) -> None:
    assert login(body(colour="red", size=1)).unknown_keys == 2


@pytest.mark.parametrize(
    ("version", "major"),
    [
        ("2", 2),
        ("2.3", 2),
        ("0.2.6", 0),
        ("6.02", 6),
        ("2.00", 2),
        ("1.2.3.4", 1),
        ("3.0.1-beta.1", 3),
        ("3.0.1+build.5", 3),
        ("3.0.1-rc.1+5", 3),
        ("2147483647.0", 2147483647),
    ],
)
def test_app_version_becomes_its_major_version(body: Body, version: str, major: int) -> None:
    assert login(body(app_version=version)).app_version == major


@pytest.mark.parametrize(
    "version",
    ["v2.3", "02.3", "2.", ".2", "2..3", "2.3\n", " 2.3", "2_0", "+2", "-2", "\uff12.3", "2.x", "1.2.3.4.5", "2.3-"],
)
def test_malformed_app_version_is_rejected(body: Body, version: str) -> None:
    assert reason(body(app_version=version)) == "malformed.app_version"


@pytest.mark.parametrize("version", ["2147483648.0", "9" * 5000])
def test_major_version_that_no_integer_column_takes_is_rejected(body: Body, version: str) -> None:
    assert reason(body(app_version=version)) == "out_of_range.app_version"


@pytest.mark.parametrize(
    ("ip", "canonical"),
    [
        ("199.172.111.135", "199.172.111.135"),
        (" 199.172.111.135 ", "199.172.111.135"),
        ("127.0.0.1", "127.0.0.1"),
        ("241.6.88.151", "241.6.88.151"),
        ("224.0.0.1", "224.0.0.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_equal_addresses_have_one_spelling(body: Body, ip: str, canonical: str) -> None:
    assert login(body(ip=ip)).ip == canonical


@pytest.mark.parametrize(
    "ip",
    [
        "300.1.2.3",
        "1.2.3",
        "010.0.0.1",
        "fe80::1%eth0",
        "::ffff:192.0.2.7%1",
        "192.0.2.1:80",
        "[2001:db8::1]",
        "192.0.2.0/24",
        "192.0.2.1, 192.0.2.2",
        "localhost",
        "\uff11.2.3.4",
    ],
)
def test_what_is_no_single_address_is_rejected(body: Body, ip: str) -> None:
    assert reason(body(ip=ip)) == "malformed.ip"


@pytest.mark.parametrize("field", ["user_id", "app_version", "device_type", "ip", "device_id"])
def test_missing_field_is_rejected(body: Body, field: str) -> None:
    assert reason(body(**{field: ...})) == f"missing.{field}"


@pytest.mark.parametrize("field", ["user_id", "app_version", "device_type", "ip", "device_id", "locale"])
@pytest.mark.parametrize("value", [True, 1, 2.3, 593475928, [], {}])
def test_wrong_type_is_rejected_and_never_coerced(body: Body, field: str, value: object) -> None:
    assert reason(body(**{field: value})) == f"wrong_type.{field}"


@pytest.mark.parametrize("field", ["user_id", "app_version", "device_type", "ip", "device_id"])
@pytest.mark.parametrize("value", ["", "  "])
def test_blank_value_is_rejected(body: Body, field: str, value: str) -> None:
    assert reason(body(**{field: value})) == f"empty.{field}"


@pytest.mark.parametrize(
    ("field", "length"), [("user_id", 128), ("device_type", 32), ("locale", 32), ("device_id", 128)]
)
def test_longest_value_is_a_login_and_a_longer_one_is_rejected(body: Body, field: str, length: int) -> None:
    login(body(**{field: "ü" * length}))
    assert reason(body(**{field: "ü" * (length + 1)})) == f"too_long.{field}"


@pytest.mark.parametrize("field", ["user_id", "device_type", "device_id", "locale"])
@pytest.mark.parametrize("value", ["a\x00b", "a\ud800b"])
def test_character_that_postgres_cannot_store_is_rejected(body: Body, field: str, value: str) -> None:
    assert reason(body(**{field: value})) == f"bad_character.{field}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "login",
        '{"user_id": NaN}',
        '{"user_id": Infinity}',
        '{"user_id": "a"} {"user_id": "b"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"user_id": ' + "9" * 5000 + "}",
        "\ufeff{}",
    ],
)
def test_what_is_not_json_is_rejected(text: str) -> None:
    assert reason(text) == "not_json"


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"', "true"])
def test_json_that_is_no_object_is_rejected(text: str) -> None:
    assert reason(text) == "not_an_object"


def test_key_that_stands_twice_is_rejected_at_any_depth(body: Body) -> None:
    assert reason('{"user_id": "a", "user_id": "b"}') == "duplicate_key"
    assert reason(body()[:-1] + ', "extra": {"a": 1, "a": 2}}') == "duplicate_key"


def test_message_of_another_kind_is_rejected() -> None:
    assert reason('{"foo": "oops_wrong_msg_type", "bar": "123"}') == "missing.user_id"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.text() | JSON.map(json.dumps))
def test_no_body_crashes_the_parser(body: str) -> None:
    assert isinstance(parse_login(body), LoginEvent | Rejection)


@given(st.ip_addresses())
def test_every_address_is_taken_and_its_canonical_spelling_stays(body: Body, address: object) -> None:
    canonical = login(body(ip=str(address))).ip
    assert login(body(ip=canonical)).ip == canonical


def test_create_date_is_the_utc_date_of_sending() -> None:
    assert create_date(1_767_225_599_999) == date(2025, 12, 31)
    assert create_date(1_767_225_600_000) == date(2026, 1, 1)
