"""What is plainly a login is decoded fast, and exactly as everything else is."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from login_pipeline.logins.event import RejectedError, decode, decode_exactly
from login_pipeline_tests.bodies import FIELDS, valid
from login_pipeline_tests.fuzz.invariants import require_body

Body = Callable[..., str]
NON_ASCII = '{"user_id": "ü😀", "app_version": "2", "device_type": "\x7f", "ip": "::1", "device_id": "\u2028"}'
ESCAPED = json.dumps(json.loads(NON_ASCII) | {"locale": "\n\0\\"})

keys = st.sampled_from([*FIELDS, *FIELDS, "locale", "other", 'a"', "é", ""])
values = st.none() | st.text(max_size=5) | st.sampled_from(["", "2.3", "::1", '"', "\\", "\ud800"])
blanks = st.text(" \t\n\r\x0b\xa0", max_size=2)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """The fields of a login, some of them left out, some with another value, and keys that are there twice."""
    login = json.loads(valid())
    pairs = [(name, login[name]) for name in draw(st.permutations(FIELDS))][draw(st.integers(0, 1)) :]
    for _ in range(draw(st.integers(0, 2))):
        pairs.insert(draw(st.integers(0, len(pairs))), (draw(keys), draw(values)))
    ascii_only = draw(st.booleans())
    texts = [": ".join(json.dumps(part, ensure_ascii=ascii_only) for part in pair) for pair in pairs]
    return draw(blanks) + "{" + ",".join(draw(blanks) + text for text in texts) + draw(blanks) + "}" + draw(blanks)


@settings(max_examples=500, deadline=None)
@given(objects())
@example(NON_ASCII)
@example("")
def test_both_decoders_agree(body: str) -> None:
    require_body(body)


@pytest.mark.parametrize(
    "body",
    [valid(), valid(locale=None), valid(locale=...), NON_ASCII, ESCAPED],
    ids=["all", "null", "absent", "non-ascii", "escaped"],
)
def test_what_is_plainly_a_login_does_not_need_the_slow_decoder(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slowly = decode_exactly(body)
    monkeypatch.setattr("login_pipeline.logins.event.decode_exactly", None)
    fields, unknown_keys = decode(body)
    assert (vars_of(fields), unknown_keys) == (vars_of(slowly[0]), slowly[1])


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("locale", [None, ..., "RU"])
@pytest.mark.parametrize("value", [None, "a", ""])
def test_key_that_is_there_twice_is_seen(field: str, locale: object, value: str | None) -> None:
    body = valid(locale=locale)
    if f'"{field}"' not in body:
        body = body[:-1] + f', "{field}": "b"}}'
    with pytest.raises(RejectedError, match="duplicate_key"):
        decode(body[:-1] + f', "{field}": {json.dumps(value)}}}')


def vars_of(fields: object) -> dict[str, object]:
    return {name: getattr(fields, name) for name in FIELDS}
