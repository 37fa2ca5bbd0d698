"""Puts lines on the queue, each as a message, exactly as it is."""

import codecs
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from json import JSONDecoder

from login_pipeline.errors import ConfigurationError, QueueError
from login_pipeline.logs.setup import process_log
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline.sqs.transport.client import ENTRY_FAULTS

# Lines that are read before they are sent, so that a file of any size takes little memory.
WINDOW = 1000
# What a file of each kind begins with. Source: their formats' specifications.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


@dataclass
class Sent:
    """How many messages were sent, and why lines were not, by their number from 1."""

    messages: int = 0
    refused: dict[int, str] = field(default_factory=dict)


def send_lines(queue: SqsQueue, lines: Iterable[bytes]) -> Sent:
    """Sends each line that is not blank; its line end is not part of the message.

    Raises:
        ConfigurationError: the queue cannot be used as configured, or the lines are none; nothing was sent.
        QueueError: SQS refuses every message.
    """
    queue.depth()
    sent = Sent()
    numbered = enumerate(_as_lines(lines), start=1)
    while window := list(islice(numbered, WINDOW)):
        bodies = dict(_bodies(window, sent))
        refused = queue.send([{"MessageBody": body} for body in bodies.values()])
        if len(refused) == len(bodies) > 0 and not ENTRY_FAULTS & set(refused.values()):
            raise QueueError(
                f"SQS takes no message ({refused[0]}); {sent.messages} were sent, none from line {window[0][0]} on; "
                "check the permission sqs:SendMessage and the network"
            )
        numbers = list(bodies)
        sent.messages += len(bodies) - len(refused)
        sent.refused |= {numbers[position]: f"SQS refused it ({code})" for position, code in refused.items()}
    process_log().info("sent", messages=sent.messages, refused=len(sent.refused))
    return sent


def _bodies(lines: Iterable[tuple[int, bytes]], sent: Sent) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        try:
            body = line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            sent.refused[number] = "it is not UTF-8"
            continue
        if body.strip():  # SQS takes no empty message
            yield number, body


def _as_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The same lines, where they are lines of JSON by their looks; without UTF-8's byte order mark.

    Raises:
        ConfigurationError: it is one JSON text over many lines, or no text; each of its lines would be rejected.
    """
    rest = iter(lines)
    first = list(islice(rest, WINDOW))
    first[:1] = [line.removeprefix(codecs.BOM_UTF8) for line in first[:1]]
    if first and (problem := _no_lines(first)):
        raise ConfigurationError(f"Nothing was sent: {problem}")
    return chain(first, rest)


def _no_lines(first: list[bytes]) -> str | None:
    """What the beginning of a file shows that is no file of lines, and how it becomes one."""
    for magic, name in _COMPRESSED.items():
        if first[0].startswith(magic):
            return f"the file is compressed ({name}); decompress it, and send it with `login-pipeline send -`"
    if first[0].startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in first[0]:
        return "the file is in UTF-16 or no text; convert it, as by: iconv -f UTF-16 -t UTF-8 FILE"
    text = b"".join(first).lstrip()
    if text.startswith(b"["):
        return "the file is one JSON array; make a line of each message, as by: jq -c '.[]' FILE"
    if text.startswith(b"{") and _spans_lines(text):
        return "its JSON objects span several lines; make a line of each, as by: jq -c . FILE"
    return None


def _spans_lines(text: bytes) -> bool:
    with suppress(ValueError, RecursionError):
        decoded = text.decode(errors="replace")
        return "\n" in decoded[: JSONDecoder().raw_decode(decoded)[1]]
    return False
