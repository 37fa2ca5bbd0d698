"""The search itself: each spelling is found, wherever it is packed, and nothing else."""

import gzip
import io
import ipaddress
import json
import pickle
import secrets
import urllib.parse
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable

import pytest

from login_pipeline_tests.at_rest.sentinels import Sentinel, Sentinels

Spell = Callable[[str], bytes]


def zipped(text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("name", text)
    return archive.getvalue()


SPELLINGS: dict[str, Spell] = {
    "as sent": str.encode,
    "upper case": lambda text: text.upper().replace("Ü", "ü").encode(),
    "lower case": lambda text: text.lower().encode(),
    "JSON": lambda text: json.dumps({"ip": text}).encode(),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"ip": text})).encode(),
    "a repr": lambda text: repr([text]).encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, big-endian": lambda text: text.encode("utf-16-be"),
    "a URL": lambda text: urllib.parse.quote(text).encode(),
    "hexadecimal": lambda text: text.encode().hex().upper().encode(),
    "base64": lambda text: b64encode(text.encode() + b"yz"),
    "base64 after a byte": lambda text: b64encode(b"x" + text.encode() + b"yz"),
    "base64 after two bytes": lambda text: b64encode(b"xx" + text.encode() + b"yz"),
    "base64 of JSON": lambda text: b64encode(json.dumps({"the ip": text.lower()}, ensure_ascii=False).encode()),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zlib in the middle": lambda text: b"\x00\x01" + zlib.compress(text.encode()) + b"\xff",
    "a zlib stream cut short": lambda text: zlib.compress(text.encode() + secrets.token_bytes(9_999))[:-50],
    "zip": zipped,
    "gzip in zip in gzip": lambda text: gzip.compress(zipped(text)),
    "pickle": lambda text: pickle.dumps({"body": [text]}),
    "a pickled and packed one": lambda text: gzip.compress(pickle.dumps(text)),
}
VALUES: dict[str, Callable[[Sentinel], str]] = {
    "ip": lambda sentinel: sentinel.ip,
    "canonical ip": lambda sentinel: sentinel.canonical_ip,
    "IPv4": lambda sentinel: sentinel.ipv4,
    "device id": lambda sentinel: sentinel.device_id,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("value", VALUES)
def test_each_spelling_is_found_and_names_its_path(value: str, spelling: str) -> None:
    sentinels = Sentinels()
    others = [sentinels.of(path) for path in ("one", "leaking", "another")]
    content = b"\x00\xffk1.ab " + SPELLINGS[spelling](VALUES[value](others[1])) + b" \x00 and more"
    found = sentinels.search().names_in(content)
    assert {name.split(",")[0] for name in found} == {"leaking"}


@pytest.mark.parametrize("value", ["ip", "IPv4"])
def test_packed_addresses_are_found(value: str) -> None:
    sentinels = Sentinels()
    address = ipaddress.ip_address(VALUES[value](sentinels.of("leaking")))
    inet = bytes([2 if address.version == 4 else 3, address.max_prefixlen]) + address.packed
    search = sentinels.search()
    assert search.names_in(b"x" + inet)
    assert search.names_in(b"x" + address.packed.hex().encode())
    assert search.names_in(b"x" + str(int(address)).encode()) or value == "ip"


def test_nothing_is_found_where_nothing_is() -> None:
    sentinels = Sentinels()
    for path in range(40):
        sentinels.of(str(path))
    search = sentinels.search()
    assert search.names_in(secrets.token_bytes(1_000_000) + Sentinel("x", 1, "efff").ip.encode()) == set()
    assert search.places([("a", b"nothing"), ("b", sentinels.of("7").device_id.encode())]).keys() == {"b"}
