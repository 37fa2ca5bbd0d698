"""Personal data that is sent to be looked for: of each path its own, so that a leak names the path that left it."""

import base64
import ipaddress
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from login_pipeline_tests.poison import valid


@dataclass(frozen=True)
class Sentinel:
    """An ip, of each version, and a device id that only the path `number` sends, in this process alone.

    `mark` is four hexadecimal digits. The device id has letters of both cases and a quote, which JSON escapes.
    """

    path: str
    number: int
    mark: str

    @property
    def ip(self) -> str:
        """As it is sent: not canonical."""
        return f"2001:0DB8:{self.mark.upper()}:0:0:0:5E17:{self.number:04X}"

    @property
    def canonical_ip(self) -> str:
        return str(ipaddress.ip_address(self.ip))

    @property
    def ipv4(self) -> str:
        """In a block for documentation (RFC 5737); others may use it, too, so a leak of it is told by its neighbours."""
        return f"203.0.113.{self.number}"

    @property
    def device_id(self) -> str:
        return f'Device-{self.mark}"{self.number:04d}-ü'

    def login(self, **fields: object) -> str:
        """The body of a login with them; its user_id is the path's name."""
        return valid(**{"user_id": self.path, "ip": self.ip, "device_id": self.device_id, **fields})

    def login_ipv4(self) -> str:
        """The same with the IPv4 address."""
        return self.login(ip=self.ipv4)

    def values(self) -> tuple[str, ...]:
        return (self.ip, self.canonical_ip, self.ipv4, self.device_id)


@dataclass
class Sentinels:
    """Makes them; `by_path` has those that were made."""

    mark: str = field(default_factory=lambda: f"e{secrets.token_hex(2)[1:]}")
    by_path: dict[str, Sentinel] = field(default_factory=dict)

    def of(self, path: str) -> Sentinel:
        """The path's own, the same each time."""
        return self.by_path.setdefault(path, Sentinel(path, len(self.by_path) + 1, self.mark))


def spellings(value: str) -> Iterator[tuple[str, bytes]]:
    """Every spelling that we know a leak to have; texts in lower case, to be looked for in text in lower case."""
    raw = value.encode()
    yield "as sent, in any case", raw.lower()
    yield "as JSON escapes it", json.dumps(value)[1:-1].encode().lower()
    yield "as JSON escapes it twice", json.dumps(json.dumps(value)[1:-1])[1:-1].encode().lower()
    yield "as Python shows it", repr(value)[1:-1].encode().lower()
    yield "UTF-16, little-endian", value.lower().encode("utf-16-le")
    yield "UTF-16, big-endian", value.lower().encode("utf-16-be")
    yield "percent-encoded", _percent(raw).lower()
    yield "hexadecimal", raw.hex().encode()
    yield "hexadecimal", raw.lower().hex().encode()
    yield "hexadecimal", raw.upper().hex().encode()
    if packed := _packed(value):
        yield "packed, hexadecimal", packed.hex().encode()
        yield "packed, hexadecimal", packed.hex(":").encode()


def exact_spellings(value: str) -> Iterator[tuple[str, bytes]]:
    """Those that are looked for in bytes as they are."""
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):  # where it stands in what was encoded
            text = alphabet(b"\x00" * before + value.encode())
            yield "base64", text[(4 if before else 0) : len(text) // 4 * 4 - 4]
    packed = _packed(value)
    if len(packed) == 16:
        yield "packed", packed
    elif packed:
        yield "as PostgreSQL packs it", b"\x02\x20" + packed
        yield "as an integer", str(int.from_bytes(packed, "big")).encode()


def _packed(value: str) -> bytes:
    try:
        return ipaddress.ip_address(value).packed
    except ValueError:
        return b""


def _percent(raw: bytes) -> bytes:
    return b"".join(bytes([each]) if chr(each).isalnum() and each < 128 else b"%%%02X" % each for each in raw)
