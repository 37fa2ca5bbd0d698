"""Finds spellings of personal data in bytes, and in what is packed in them."""

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

# How gzip, a file in a zip archive and zlib begin. Source: RFC 1952, RFC 1950, PKWARE's APPNOTE.
_PACKED = re.compile(rb"\x1f\x8b\x08|PK\x03\x04|\x78[\x01\x5e\x9c\xda]")
_DEPTH = 3
# Bytes to which a stream is unpacked.
_LONGEST = 64 * 1024 * 1024
# Bytes with which few needles begin differently: these are looked for first, which is quicker.
_BEGINNING = 7

# Each spelling, and the name to report it by.
Needles = Mapping[bytes, str]


class Search:
    """A search for texts in any case, which are given in lower case, and for exact bytes."""

    def __init__(self, texts: Needles, exact: Needles) -> None:
        self._texts, self._exact = _by_beginning(texts), _by_beginning(exact)
        self._known: dict[bytes, set[str]] = {}

    def names_in(self, content: bytes) -> set[str]:
        """The names of what is in the bytes, or packed in them; what was searched before is not searched again."""
        digest = hashlib.blake2b(content).digest()
        if digest not in self._known:
            self._known[digest] = {
                name
                for each in unpacked(content)
                for name in (*_found(self._texts, each.lower()), *_found(self._exact, each))
            }
        return self._known[digest]

    def places(self, contents: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
        """What is found, by place; places without any are left out."""
        found: dict[str, set[str]] = {}
        for place, content in contents:
            if names := self.names_in(content):
                found.setdefault(place, set()).update(names)
        return found


def _by_beginning(needles: Needles) -> dict[bytes, dict[bytes, str]]:
    groups: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    for needle, name in needles.items():
        groups[needle[:_BEGINNING]][needle] = name
    return groups


def _found(groups: Mapping[bytes, Needles], content: bytes) -> Iterator[str]:
    for beginning, needles in groups.items():
        if beginning in content:
            yield from (name for needle, name in needles.items() if needle in content)


def unpacked(content: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """The bytes, and what of gzip, zip and zlib is anywhere in them, streams that are cut short included."""
    yield content
    if depth:
        for start in _PACKED.finditer(content):
            if inner := _inflated(content, start.start()):
                yield from unpacked(inner, depth - 1)


def _inflated(content: bytes, at: int) -> bytes:
    window = zlib.MAX_WBITS | 32  # gzip or zlib, as the header says
    if content.startswith(b"PK", at):
        name, extra = (int.from_bytes(content[at + place : at + place + 2], "little") for place in (26, 28))
        at, window = at + 30 + name + extra, -zlib.MAX_WBITS
    stream, inner = zlib.decompressobj(window), bytearray()
    try:
        for first in range(at, len(content), 4096):
            inner += stream.decompress(content[first : first + 4096])
            if stream.eof or len(inner) > _LONGEST:
                break
    except zlib.error:
        pass  # not a stream, or the rest of one is missing
    return bytes(inner)
