"""Finds spellings of personal data in bytes, and in what is packed in them."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

_PACKED = re.compile(rb"\x1f\x8b\x08|PK\x03\x04|\x78[\x01\x5e\x9c\xda]")
"""How gzip, a file in a zip archive and zlib begin. Source: RFC 1952, RFC 1950, PKWARE's APPNOTE."""
_DEPTH = 3
_LONGEST = 64 * 1024 * 1024
"""Bytes to which a stream is unpacked."""

Needles = Mapping[bytes, str]
"""Each spelling, and the name to tell it by."""


class Search:
    """A search for texts in any case, which `needles` has in lower case, and for `exact` bytes.

    One of `first` is in each of either.
    """

    def __init__(self, needles: Needles, exact: Needles, first: Sequence[bytes] = (b"",)) -> None:
        self._needles, self._exact, self._first = needles, exact, first

    def names_in(self, content: bytes) -> set[str]:
        """The names of what is in the bytes, or packed in them."""
        found = set()
        for each in unpacked(content):
            lower = each.lower()
            if not any(needle in lower or needle in each for needle in self._first):
                continue
            found |= {name for needle, name in self._needles.items() if needle in lower}
            found |= {name for needle, name in self._exact.items() if needle in each}
        return found

    def places(self, contents: Iterable[tuple[str, bytes]]) -> dict[str, set[str]]:
        """What is found, by place; places without any are left out."""
        found: dict[str, set[str]] = {}
        for place, content in contents:
            if names := self.names_in(content):
                found.setdefault(place, set()).update(names)
        return found


def unpacked(content: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """The bytes, and what of gzip, zip and zlib stands anywhere in them, streams that are cut short included."""
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
