"""Personal data that is sent to be looked for: of each path its own, so that a leak names the path that left it."""

import base64
import ipaddress
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from login_pipeline_tests.at_rest.search import Search
from login_pipeline_tests.bodies import valid


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
        return f"2001:0DB8:{self.mark.upper()}:{self.number:04X}:0:0:0:5E17"

    @property
    def canonical_ip(self) -> str:
        return str(ipaddress.ip_address(self.ip))

    @property
    def ipv4(self) -> str:
        """In a block for benchmarks (RFC 2544). All end alike: base64 has only a part of a last byte."""
        return f"198.18.{self.number}.77"

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

    def search(self, secrets: Mapping[str, str] | None = None) -> Search:
        """For every spelling of all that were made, named by path and spelling; and for secrets, by their names."""
        texts: dict[bytes, str] = {}
        exact: dict[bytes, str] = {secret.encode(): name for name, secret in (secrets or {}).items()}
        for sentinel in self.by_path.values():
            for value in sentinel.values():
                texts |= {needle: f"{sentinel.path}, {name}" for name, needle in spellings(value)}
                exact |= {needle: f"{sentinel.path}, {name}" for name, needle in exact_spellings(value)}
        return Search(texts, exact)


def spellings(value: str) -> Iterator[tuple[str, bytes]]:
    """Every spelling that we know a leak to have; texts in lower case, to be looked for in text in lower case."""
    raw = value.encode()
    yield "as sent, in any case", raw.lower()
    yield "as JSON escapes it", json.dumps(value)[1:-1].encode().lower()
    yield "as JSON escapes it twice", json.dumps(json.dumps(value)[1:-1])[1:-1].encode().lower()
    yield "as Python shows it", repr(value)[1:-1].encode().lower()
    yield "UTF-16, little-endian", value.lower().encode("utf-16-le")
    yield "UTF-16, big-endian", value.lower().encode("utf-16-be")
    yield "as a URL has it", quote(value, safe="").encode().lower()
    yield "hexadecimal", raw.hex().encode()
    yield "hexadecimal", raw.lower().hex().encode()
    yield "hexadecimal", raw.upper().hex().encode()
    if packed := _packed(value):
        yield "packed, hexadecimal", packed.hex().encode()
        yield "packed, hexadecimal", packed.hex(":").encode()


def exact_spellings(value: str) -> Iterator[tuple[str, bytes]]:
    """Those that are looked for in bytes as they are."""
    texts = (value, value.lower(), value.upper())
    in_json = [json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in texts for ascii_only in (True, False)]
    for raw in {text.encode() for text in (*texts, *in_json)}:
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            for before, unsure in ((0, 0), (1, 2), (2, 3)):  # where it is in what was encoded
                yield "base64", alphabet(b"\x00" * before + raw)[unsure : (before + len(raw)) * 8 // 6]
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
