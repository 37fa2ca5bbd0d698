"""Puts lines on the queue, each as a message, exactly as it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from login_pipeline.errors import QueueError
from login_pipeline.logs import process_log
from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline.resources.sqs_batches import ENTRY_FAULTS

WINDOW = 1000
"""Lines that are read before they are sent, so that a file of any size takes little memory."""


@dataclass
class Sent:
    """How many messages were sent, and why lines were not, by their number from 1."""

    messages: int = 0
    refused: dict[int, str] = field(default_factory=dict)


def send_lines(lines: Iterable[bytes]) -> Sent:
    """Sends each line that is not blank; its line end is not part of the message.

    Raises:
        ConfigurationError: the queue cannot be used as configured; nothing was sent.
        QueueError: SQS refuses whatever is sent.
    """
    queue = LoginQueueResource()
    queue.depth()
    sent = Sent()
    numbered = enumerate(lines, start=1)
    while window := list(islice(numbered, WINDOW)):
        bodies = dict(_bodies(window, sent))
        refused = queue.login_queue.send([{"MessageBody": body} for body in bodies.values()])
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
