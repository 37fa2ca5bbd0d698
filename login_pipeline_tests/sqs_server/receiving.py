"""ReceiveMessage: what a call asks for, and the answer when messages are there. Waiting for them is done elsewhere."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from login_pipeline_tests.sqs_server.account import Account, Clock
from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value
from login_pipeline_tests.sqs_server.messages import Message
from login_pipeline_tests.sqs_server.queue import Queue
from login_pipeline_tests.sqs_server.queue_attributes import BOUNDS
from login_pipeline_tests.sqs_server.receipt_handles import ReceiptHandles
from login_pipeline_tests.sqs_server.requests import ReceiveMessage

# Source: Amazon SQS API Reference, ReceiveMessage.
MAX_MESSAGES = 10
MAX_VISIBILITY_TIMEOUT = BOUNDS["VisibilityTimeout"][1]
MAX_WAIT = BOUNDS["ReceiveMessageWaitTimeSeconds"][1]
NOTHING = b"{}"


class SystemAttribute(NamedTuple):
    """What a message has it in, and the place for that in its JSON."""

    value: str
    place: str = "%d"


_SOURCE = "DeadLetterQueueSourceArn"
_SYSTEM_ATTRIBUTES = {
    "SenderId": SystemAttribute("sender", "%b"),
    "SentTimestamp": SystemAttribute("sent"),
    "ApproximateReceiveCount": SystemAttribute("receive_count"),
    "ApproximateFirstReceiveTimestamp": SystemAttribute("first_received"),
    _SOURCE: SystemAttribute("source_arn", "%b"),
}
_NEVER_SET = {"AWSTraceHeader", "MessageDeduplicationId", "MessageGroupId", "SequenceNumber"}
_KNOWN = {*_SYSTEM_ATTRIBUTES, *_NEVER_SET, "All"}


class Form(NamedTuple):
    """A message's JSON with places for what differs, the last for its own attributes; and what fills the others."""

    text: bytes
    values: Callable[[Message], tuple[Any, ...]]


class Forms(NamedTuple):
    """How messages are described to one who asked for `own` attributes of theirs, and for some of SQS's."""

    usual: Form
    # Of those that a redrive policy moved: they may tell where from.
    moved: Form
    own: Sequence[str]

    def describe(self, message: Message) -> bytes:
        """The message's JSON."""
        text, values = self.moved if message.source_arn else self.usual
        return text % (*values(message), message.attributes.json(self.own) if message.attributes else b"")


class Poll(NamedTuple):
    """A call of ReceiveMessage that can be answered as soon as there are messages."""

    queue: Queue
    most: int
    visibility_timeout: int
    # Seconds.
    wait: int
    forms: Forms

    def answer(self, clock: Clock) -> bytes | None:
        """Receives what there is; None where that is nothing."""
        messages = self.queue.receive(self.most, self.visibility_timeout, clock.now())
        if not messages:
            return None
        return b'{"Messages":[%b]}' % b",".join([self.forms.describe(message) for message in messages])


def receive(account: Account, request: ReceiveMessage) -> bytes | Poll:
    """The answer; or the poll, where nothing is there and it is to wait.

    Raises:
        SqsError: there is no such queue, a parameter is out of bounds, or as many messages are in flight as may be.
    """
    owned = account.by_url(request.queue_url)
    numbers = owned.attributes.numbers
    hidden, wait = request.visibility_timeout, request.wait_time_seconds
    poll = Poll(
        owned.queue,
        request.max_number_of_messages,
        numbers["VisibilityTimeout"] if hidden is None else hidden,
        numbers["ReceiveMessageWaitTimeSeconds"] if wait is None else wait,
        _forms(
            owned.queue.handles,
            (*request.message_system_attribute_names, *request.attribute_names),
            tuple(request.message_attribute_names),
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


@lru_cache(maxsize=1000)
def _forms(handles: ReceiptHandles, system: tuple[str, ...], own: tuple[str, ...]) -> Forms:
    if unknown := set(system) - _KNOWN:
        raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
    wanted = _KNOWN if "All" in system else set(system)
    return Forms(_form(handles, wanted - {_SOURCE}), _form(handles, wanted), own)


def _form(handles: ReceiptHandles, wanted: set[str]) -> Form:
    names = [name for name in _SYSTEM_ATTRIBUTES if name in wanted]
    told = ",".join(f'"{name}":"{_SYSTEM_ATTRIBUTES[name].place}"' for name in names).encode()
    attributes = b',"Attributes":{%b}' % told if told else b""
    values = attrgetter("json", "number", "receive_count", *(_SYSTEM_ATTRIBUTES[name].value for name in names))
    return Form(b'%%b,"ReceiptHandle":"%b"%b%%b}' % (handles.form, attributes), values)
