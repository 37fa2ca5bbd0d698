"""ReceiveMessage: what a call asks for, and the answer when messages are there. Waiting for them is done elsewhere."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from benchmarks.sqs_server.account import Account, Clock
from benchmarks.sqs_server.errors import SqsError, invalid_value
from benchmarks.sqs_server.messages import Message
from benchmarks.sqs_server.queue import Queue
from benchmarks.sqs_server.queue_attributes import BOUNDS
from benchmarks.sqs_server.requests import ReceiveMessage

MAX_MESSAGES = 10
"""Source: Amazon SQS API Reference, ReceiveMessage."""
MAX_VISIBILITY_TIMEOUT = BOUNDS["VisibilityTimeout"][1]
MAX_WAIT = BOUNDS["ReceiveMessageWaitTimeSeconds"][1]
NOTHING = b"{}"

_SYSTEM_ATTRIBUTES: dict[str, Callable[[Message], bytes]] = {
    "SenderId": lambda message: b'"SenderId":"AIDAEXAMPLEBENCHMARKS"',
    "SentTimestamp": lambda message: b'"SentTimestamp":"%d"' % message.sent,
    "ApproximateReceiveCount": lambda message: b'"ApproximateReceiveCount":"%d"' % message.receive_count,
    "ApproximateFirstReceiveTimestamp": lambda message: (
        b'"ApproximateFirstReceiveTimestamp":"%d"' % message.first_received
    ),
}
_SOURCE = "DeadLetterQueueSourceArn"
_KNOWN = {*_SYSTEM_ATTRIBUTES, _SOURCE, "All", "AWSTraceHeader", "MessageDeduplicationId", "MessageGroupId"} | {
    "SequenceNumber"
}


class Wanted(NamedTuple):
    """What of each message is to be told beside its body."""

    system: Sequence[Callable[[Message], bytes]]
    source: bool
    own: Sequence[str]


class Poll(NamedTuple):
    """A call of ReceiveMessage that can be answered as soon as there are messages."""

    queue: Queue
    most: int
    visibility_timeout: int
    wait: int
    """Seconds."""
    wanted: Wanted

    def answer(self, clock: Clock) -> bytes | None:
        """Receives what there is; None where that is nothing."""
        now = clock.now()
        messages = self.queue.receive(self.most, self.visibility_timeout, now)
        if not messages:
            return None
        milliseconds = clock.milliseconds(now)
        make = self.queue.handles.make
        described = [
            _describe(message, make(message.number, message.receive_count), self.wanted, milliseconds)
            for message in messages
        ]
        return b'{"Messages":[%b]}' % b",".join(described)


def receive(account: Account, request: ReceiveMessage) -> bytes | Poll:
    """The answer; or the poll, where nothing is there and it is to wait.

    Raises:
        SqsError: there is no such queue, a parameter is out of bounds, or as many messages are in flight as may be.
    """
    owned = account.by_url(request.queue_url)
    numbers = owned.attributes.numbers
    most, hidden, wait = request.max_number_of_messages, request.visibility_timeout, request.wait_time_seconds
    poll = Poll(
        owned.queue,
        most,
        numbers["VisibilityTimeout"] if hidden is None else hidden,
        numbers["ReceiveMessageWaitTimeSeconds"] if wait is None else wait,
        _wanted(
            (*request.message_system_attribute_names, *request.attribute_names), (*request.message_attribute_names,)
        ),
    )
    _check(poll)
    answer = poll.answer(account.clock)
    if answer is not None:
        return answer
    if poll.wait:
        return poll
    if owned.queue.is_at_its_limit():  # a long poll comes back empty instead (API Reference, ReceiveMessage)
        raise SqsError("OverLimit", "Too many messages in flight.")
    return NOTHING


def _check(poll: Poll) -> None:
    if not 1 <= poll.most <= MAX_MESSAGES:
        raise invalid_value("MaxNumberOfMessages", poll.most, f"Must be between 1 and {MAX_MESSAGES}, if provided.")
    if not 0 <= poll.visibility_timeout <= MAX_VISIBILITY_TIMEOUT:
        reason = f"Must be >= 0 and <= {MAX_VISIBILITY_TIMEOUT}, if provided."
        raise invalid_value("VisibilityTimeout", poll.visibility_timeout, reason)
    if not 0 <= poll.wait <= MAX_WAIT:
        raise invalid_value("WaitTimeSeconds", poll.wait, f"Must be >= 0 and <= {MAX_WAIT}, if provided.")


@lru_cache(maxsize=100)
def _wanted(system: tuple[str, ...], own: tuple[str, ...]) -> Wanted:
    if unknown := set(system) - _KNOWN:
        raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
    everything = "All" in system
    return Wanted(
        [make for name, make in _SYSTEM_ATTRIBUTES.items() if everything or name in system],
        everything or _SOURCE in system,
        own,
    )


def _describe(message: Message, handle: bytes, wanted: Wanted, now: int) -> bytes:
    message.first_received = message.first_received or now
    own = message.attributes.json(wanted.own) if message.attributes else b""
    system = [make(message) for make in wanted.system]
    if wanted.source and message.source_arn:
        system.append(b'"DeadLetterQueueSourceArn":"%b"' % message.source_arn.encode())
    if not system:
        return b'%b,"ReceiptHandle":"%b"%b}' % (message.json, handle, own)
    return b'%b,"ReceiptHandle":"%b","Attributes":{%b}%b}' % (message.json, handle, b",".join(system), own)
