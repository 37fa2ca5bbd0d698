"""Equal addresses have one spelling, also where a shortcut knows it without Python's parser."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from login_pipeline.logins.ip_address import canonical_ip, parsed_ip

groups = st.lists(st.sampled_from(["0", "1", "ffff", "db8", "00", "0a", "A", "12345", "g", ""]), max_size=9)
octets = st.lists(st.integers(0, 300).map(str) | st.sampled_from(["00", "01", "", " 1", "1\n", "\uff11"]), max_size=5)
spellings = (
    st.ip_addresses().map(str)
    | st.ip_addresses(v=6).map(lambda address: address.exploded.upper())
    | groups.map(":".join)
    | st.tuples(groups, groups).map(lambda both: "::".join(map(":".join, both)))
    | octets.map(".".join)
    | st.tuples(groups.map(":".join), octets.map(".".join)).map(":".join)
    | st.text("0123456789abcdef:.%\n /", max_size=45)
)


def outcome(spell: object, text: str) -> str | None:
    assert callable(spell)
    try:
        return str(spell(text))
    except ValueError:
        return None


@settings(max_examples=1_000, deadline=None)
@given(spellings)
@example("1:2:3:4:5:6:7::")
@example("::ffff:102:304")
@example("1::\n")
def test_shortcut_gives_what_the_parser_gives(text: str) -> None:
    assert outcome(canonical_ip, text) == outcome(parsed_ip, text)


@pytest.mark.parametrize(
    "ip",
    [
        *("192.0.2.1", "255.255.255.255", "2001:db8::1", "2001:db8::", "1:2:3:4:5:6::"),
        "2a02:908:e842:3a20:5d1b:aa14:7f:9c22",
    ],
)
def test_address_in_its_one_spelling_does_not_need_the_parser(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.logins.ip_address.parsed_ip", None)
    assert canonical_ip(ip) == ip
