"""Finds spellings of personal data in bytes, and in what is packed in them."""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

# How gzip, a file in a zip archive and zlib begin. Source: RFC 1952, RFC 1950, PKWARE's APPNOTE.
_PACKED = re.compile(rb"\x1f\x8b\x08|PK\x03\x04|\x78[\x01\x5e\x9c\xda]")
_DEPTH = 3
# Bytes to which a stream is unpacked.
_LONGEST = 64 * 1024 * 1024

# Each spelling, and the name to tell it by.
Needles = Mapping[bytes, str]


class Search:
    """A search for texts in any case, which are given in lower case, and for exact bytes.

    `texts_begin` and `exact_begin` have what every needle begins with: it is looked for first, and is quicker.
    """

    def __init__(
        self, texts: Needles, exact: Needles, texts_begin: Sequence[bytes], exact_begin: Sequence[bytes]
    ) -> None:
        self._texts, self._exact = texts, exact
        self._texts_begin, self._exact_begin = frozenset(texts_begin), frozenset(exact_begin)
        self._known: dict[bytes, set[str]] = {}

    def names_in(self, content: bytes) -> set[str]:
        """The names of what is in the bytes, or packed in them; what was searched before is not searched again."""
        digest = hashlib.blake2b(content).digest()
        if digest not in self._known:
            self._known[digest] = {name for each in unpacked(content) for name in self._names_in(each)}
        return self._known[digest]

    def _names_in(self, content: bytes) -> set[str]:
        lower = content.lower()
        found = set()
        if any(begin in lower for begin in self._texts_begin):
            found |= {name for needle, name in self._texts.items() if needle in lower}
        if any(begin in content for begin in self._exact_begin):
            found |= {name for needle, name in self._exact.items() if needle in content}
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
