"""Bodies that are nearly logins, and envelopes that are nearly some: bytes changed at random from a seed."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from login_pipeline_tests.bodies import FIELDS, POISON, valid
from login_pipeline_tests.envelopes import base64_of, event, fifo_notification, gzip_of, notification

# Bytes. Longer bodies only slow the search; tests of their own have those.
LONGEST_SEED = 4_096

# What a parser, a database, a shell, a spreadsheet or a terminal gives a meaning.
TOKENS = [
    *(b"\x00", b"\r\n", b"\t", b"\x1b[2J", b"\x7f", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u202e", b"\\u2028", b"\\\\", b'\\"', b"\\x", b"\\"),
    *("\u202e\u2066".encode(), "\u2028\u2029\x85".encode(), "\uff11\uff19".encode(), "😀".encode(), "e\u0301".encode()),
    *(b'"', b"'", b"{", b"}", b"[", b"]", b":", b",", b"[[[[[[[[", b'{"a":', b"}}}}", b"]]]]", b" " * 40, b"//", b"/*"),
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"0x1F",
        b"1_0",
        b"9" * 20,
        b"9" * 4301,
        b"1.7976931348623157e309",
        b"true",
    ),
    *(b"null", b"\\N", b"\\.", b"';DROP TABLE user_logins;--", b"E'\\\\'", b"$$", b"%s", b"{0}", b"=1+1", b"<script>"),
    *(b"::", b"::ffff:1.2.3.4", b"fe80::1%eth0", b"1.2.3.4/8", b"0.0.0.0", b"255.255.255.255", b"2001:db8::1", b"%"),
    *(b"2147483647", b"2147483648", b"1.2.3.4.5", b"-rc.1", b"+build", b"v", b"0", b"x" * 33, b"x" * 129),
    *(f'"{field}"'.encode() for field in FIELDS),
    *(b'"Message"', b'"MessageId"', b'"TopicArn"', b'"detail"', b'"detail-type"', b'"Content-Encoding"'),
]

_SEEDS = [body.encode("utf-8", "surrogatepass") for body in (*[valid()] * 400, *(poison.body for poison in POISON))]
SEEDS = [seed for seed in _SEEDS if len(seed) <= LONGEST_SEED]

Mutation = Callable[[Random, bytes], bytes]


class Sent(NamedTuple):
    """A message: its body, how an attribute says that it is encoded, and what must be in it where that is known."""

    body: str
    encoding: str = ""
    content: str | None = None


def bodies(source: Random) -> Iterator[str]:
    """Bodies without an end. Bytes that are no UTF-8 become lone surrogates, as JSON can spell them."""
    while True:
        yield _mutated(source, source.choice(SEEDS))


def messages(source: Random) -> Iterator[Sent]:
    """The same bodies, half of them in an envelope, and half of the envelopes mutated, too."""
    for body in bodies(source):
        wrap = source.choice(WRAPS) if source.random() < 0.5 and _is_unicode(body) else Sent
        sent = wrap(body)
        if wrap is not Sent and source.random() < 0.5:
            sent = Sent(_mutated(source, sent.body.encode()), sent.encoding)
        yield sent


def _mutated(source: Random, body: bytes) -> str:
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        body = source.choice(MUTATIONS)(source, body)
    return body.decode("utf-8", "surrogateescape")


def _is_unicode(body: str) -> bool:
    try:
        body.encode()
    except UnicodeEncodeError:
        return False
    return True


def _gzip_in_notification(body: str) -> str:
    return notification(gzip_of(body), MessageAttributes={"Content-Encoding": {"Type": "String", "Value": "gzip"}})


# What is no JSON, or has a key twice, leaves an event closed.
WRAPS: list[Callable[[str], Sent]] = [
    lambda body: Sent(notification(body), "", body),
    lambda body: Sent(fifo_notification(body), "", body),
    lambda body: Sent(_gzip_in_notification(body), "", body),
    lambda body: Sent(base64_of(body), "base64", body),
    lambda body: Sent(gzip_of(body), "gzip", body),
    lambda body: Sent(event(body)),
    lambda body: Sent(notification(event(body))),
]


def _flip(source: Random, body: bytes) -> bytes:
    at = _place(source, body)
    return body[:at] + bytes([source.randrange(256)]) + body[at + 1 :]


def _insert(source: Random, body: bytes) -> bytes:
    at = _place(source, body)
    return body[:at] + source.choice(TOKENS) + body[at:]


def _overwrite(source: Random, body: bytes) -> bytes:
    at, token = _place(source, body), source.choice(TOKENS)
    return body[:at] + token + body[at + len(token) :]


def _cut(source: Random, body: bytes) -> bytes:
    first, end = sorted((_place(source, body), _place(source, body)))
    return body[:first] + body[min(end, first + 16) :]


def _repeat(source: Random, body: bytes) -> bytes:
    first, end = sorted((_place(source, body), _place(source, body)))
    return body[:end] + body[first : first + 64] * source.randrange(1, 4) + body[end:]


def _splice(source: Random, body: bytes) -> bytes:
    other = source.choice(SEEDS)
    return body[: _place(source, body)] + other[_place(source, other) :]


def _other_value(source: Random, body: bytes) -> bytes:
    """Another value in a field of a body that is JSON; most other mutations end as not_json."""
    try:
        login = json.loads(body)
        login[source.choice(FIELDS)] = _value(source)
        return json.dumps(login, ensure_ascii=source.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, RecursionError):
        return body


def _value(source: Random) -> object:
    text = "".join(source.choice(TOKENS).decode("utf-8", "surrogateescape") for _ in range(source.randrange(4)))
    other: list[object] = [text, text, text, text.encode("utf-8", "replace").hex(), chr(source.randrange(0x110000)) * 2]
    return source.choice([*other, None, True, source.randrange(10**9), 2.5, [text], {text: text}])


def _place(source: Random, body: bytes) -> int:
    return source.randrange(len(body) + 1)


MUTATIONS: list[Mutation] = [_flip, _insert, _overwrite, _cut, _repeat, _splice, *[_other_value] * 6]
