"""Every rejection of the contract: a body that is no login, by its reason code. What test after test is fed with."""

import json
from typing import NamedTuple

_VALID = {
    "user_id": "424cdd21-063a-43a7-b91b-7ca1a833afae",
    "app_version": "2.3.0",
    "device_type": "android",
    "ip": "199.172.111.135",
    "locale": "RU",
    "device_id": "593-47-5928",
}
FIELDS = list(_VALID)
_REQUIRED = [field for field in FIELDS if field != "locale"]
# In characters; ip and app_version are as long as their grammar lets them be.
_LONGEST = {"user_id": 128, "device_type": 32, "locale": 32, "device_id": 128}


class Poison(NamedTuple):
    """A body and the reason for which it is no login."""

    reason: str
    body: str


def valid(**fields: object) -> str:
    """The body of a login with other fields; one that is set to ... is left out."""
    return json.dumps({name: value for name, value in {**_VALID, **fields}.items() if value is not ...})


def _each(reason: str, field: str, values: list[object]) -> list[Poison]:
    return [Poison(f"{reason}.{field}", valid(**{field: value})) for value in values]


# No empty body is among them: SQS takes none.
NOT_JSON = [
    "{",
    "login",
    '{"user_id": NaN}',
    '{"user_id": Infinity}',
    '{"user_id": -Infinity}',
    '{"user_id": "a"} {"user_id": "b"}',
    valid() + "x",
    valid()[:-1] + ",}",
    valid().replace('"', "'"),
    '{"user_id": "a\nb"}',
    "[" * 100_000,
    '{"a":' * 40_000,
    '{"user_id": ' + "9" * 5000 + "}",
    valid()[:-1] + ', "extra": ' + "9" * 5000 + "}",
    "\ufeff" + valid(),
]
NO_OBJECT = ["[]", "null", "1", '"a"', "true", f"[{valid()}]", json.dumps(valid())]
TWICE = [
    '{"user_id": "a", "user_id": "b"}',
    valid()[:-1] + ', "extra": {"a": 1, "a": 2}}',
    valid()[:-1] + ', "ip": "::1"}',
]
VERSIONS: list[object] = [
    *("v2.3", "V2", "02.3", "2.", ".2", "2..3", "2.3\n", " 2.3", "2.3 ", "2_0", "+2", "-2", "\uff12.3", "2.x", "two"),
    *("1.2.3.4.5", "2.3-", "2.3+", "0x2", "1e3", "2,3"),
]
ADDRESSES: list[object] = [
    *("300.1.2.3", "1.2.3", "1.2.3.4.5", "010.0.0.1", "2130706433", "0x7f000001", "1:2", ":::", "2001:db8::g"),
    *("fe80::1%eth0", "::ffff:192.0.2.7%1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80"),
    *("192.0.2.0/24", "2001:db8::/32", "192.0.2.1, 192.0.2.2", "192.0.2.1 192.0.2.2", "localhost", "\uff11.2.3.4"),
]
WRONG_TYPES: list[object] = [True, False, 1, 2.3, 593475928, [], ["a"], {}, {"a": "b"}]

POISON = [
    *(Poison("not_json", body) for body in NOT_JSON),
    *(Poison("not_an_object", body) for body in NO_OBJECT),
    *(Poison("duplicate_key", body) for body in TWICE),
    Poison("missing.user_id", '{"foo": "oops_wrong_msg_type", "bar": "123"}'),
    Poison("missing.user_id", "{}"),
    *(Poison(f"missing.{field}", valid(**{field: ...})) for field in _REQUIRED),
    *(poison for field in _VALID for poison in _each("wrong_type", field, WRONG_TYPES)),
    *(poison for field in _REQUIRED for poison in _each("wrong_type", field, [None])),
    *(poison for field in _REQUIRED for poison in _each("empty", field, ["", "  ", "\t\n"])),
    *(
        poison
        for field, most in _LONGEST.items()
        for poison in _each("too_long", field, ["ü" * (most + 1), "x" * 9999])
    ),
    *(poison for field in _VALID for poison in _each("bad_character", field, ["a\x00b", "a\ud800b", "\udc00"])),
    *_each("malformed", "app_version", VERSIONS),
    *_each("out_of_range", "app_version", ["2147483648", "2147483648.0", "9" * 5000]),
    *_each("malformed", "ip", ADDRESSES),
    *(
        poison
        for field in ("user_id", "device_type", "locale")
        for poison in _each("ip_in_clear", field, ["192.0.2.1", " 2001:DB8::1 ", "::1"])
    ),
]
