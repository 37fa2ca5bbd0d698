"""A login message as SQS delivers it, and as it is on the dead-letter queue."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple, Self

import msgspec

from login_pipeline.settings import Envelope
from login_pipeline.sqs.envelope import CONTENT_ENCODING, UUID, open_envelopes

REASON = "reason"
ORIGINAL_MESSAGE_ID = "original_message_id"
ORIGINAL_SENT_TIMESTAMP = "original_sent_timestamp"
OUR_NAMES = {REASON, ORIGINAL_MESSAGE_ID, ORIGINAL_SENT_TIMESTAMP}
# Attributes of one message. Source: Amazon SQS Developer Guide, "Amazon SQS message attributes".
MAX_ATTRIBUTES = 10

# Any sender can write the attribute: what is taken for an id is stored and logged, so it can be no other text.
_MESSAGE_ID = re.compile(UUID)


class SystemAttributes(msgspec.Struct, gc=False):
    """What SQS says of a message: when it was sent, in milliseconds since the epoch, and how often it was delivered."""

    sent_timestamp: int = msgspec.field(name="SentTimestamp")
    receive_count: int = msgspec.field(name="ApproximateReceiveCount")


class Attribute(msgspec.Struct, gc=False):
    """What a sender says of a message. A value of type Binary is in `binary`, any other in `text`."""

    data_type: str = msgspec.field(name="DataType", default="String")
    text: str = msgspec.field(name="StringValue", default="")
    binary: bytes = msgspec.field(name="BinaryValue", default=b"")

    def entry(self) -> dict[str, str | bytes]:
        """As boto3 sends it."""
        value: dict[str, str | bytes] = {"BinaryValue": self.binary} if self.binary else {"StringValue": self.text}
        return {"DataType": self.data_type, **value}


class Received(msgspec.Struct, gc=False):
    """One message of a ReceiveMessage."""

    message_id: str = msgspec.field(name="MessageId")
    receipt_handle: str = msgspec.field(name="ReceiptHandle")
    body: str = msgspec.field(name="Body")
    system: SystemAttributes = msgspec.field(name="Attributes")
    attributes: dict[str, Attribute] = msgspec.field(name="MessageAttributes", default_factory=dict)


class ReceiveResponse(msgspec.Struct, gc=False):
    """ReceiveMessage's response."""

    messages: list[Received] = msgspec.field(name="Messages", default_factory=list)


Attributes = Mapping[str, Attribute]
NO_ATTRIBUTES: Attributes = {}


class Message(NamedTuple):
    """A received message; `sent_timestamp` is in milliseconds since the epoch.

    `message_id` and `sent_timestamp` are those of the first sending: a message that was moved to the
    dead-letter queue and back has new ones in SQS, and is still the same login. `sqs_message_id` is the one
    of this sending. Attributes that this pipeline would not have written are ignored: it was first sent then.
    What SNS published has SNS's MessageId as its `message_id`: SNS may send one to the queue twice.
    """

    message_id: str
    sqs_message_id: str
    receipt_handle: str
    sent_timestamp: int
    receive_count: int
    body: str
    # The body out of its envelopes, or the Reason why it cannot be opened (envelope.py).
    content: str
    # The sender's own; those that this pipeline writes are left out.
    attributes: Attributes = NO_ATTRIBUTES
    # Why it is on the dead-letter queue, if this pipeline put it there.
    reason: str = ""

    @classmethod
    def from_sqs(cls, received: Received, envelope: Envelope) -> Self:
        """From an entry of ReceiveMessage's response, with all its attributes."""
        sent, own = received.system.sent_timestamp, received.attributes
        message_id, reason, encoding, attributes = received.message_id, "", "", NO_ATTRIBUTES
        if own:
            original_id, original_sent = _text(own, ORIGINAL_MESSAGE_ID), _text(own, ORIGINAL_SENT_TIMESTAMP)
            if _MESSAGE_ID.fullmatch(original_id) and _is_timestamp(original_sent, not_after=sent):
                message_id, sent = original_id, int(original_sent)
            reason, encoding = _text(own, REASON), _text(own, CONTENT_ENCODING)
            attributes = {name: attribute for name, attribute in own.items() if name not in OUR_NAMES}
        content, sns_message_id = open_envelopes(received.body, encoding, envelope)
        return cls(
            sns_message_id or message_id,
            received.message_id,
            received.receipt_handle,
            sent,
            received.system.receive_count,
            received.body,
            content,
            attributes,
            reason,
        )


def dead_letter(message_id: str, sent_timestamp: int, body: str, attributes: Attributes, reason: str) -> dict[str, Any]:
    """What SendMessageBatch puts on the dead-letter queue: the message as it came, and where it came from."""
    return sent_again(message_id, sent_timestamp, body, attributes, {REASON: Attribute("String", reason)})


def sent_again(
    message_id: str, sent_timestamp: int, body: str, attributes: Attributes, more: Attributes = NO_ATTRIBUTES
) -> dict[str, Any]:
    """What SendMessageBatch puts on a queue so that the message stays the one that it was.

    The sender's attributes are kept as far as SQS's limit leaves room beside ours, and first the one without which the
    body cannot be read.
    """
    ours = {
        ORIGINAL_MESSAGE_ID: Attribute("String", message_id),
        ORIGINAL_SENT_TIMESTAMP: Attribute("Number", str(sent_timestamp)),
        **more,
    }
    needed_first = sorted(attributes.items(), key=lambda attribute: attribute[0] != CONTENT_ENCODING)
    kept = islice(needed_first, MAX_ATTRIBUTES - len(ours))
    return {
        "MessageBody": body,
        "MessageAttributes": {name: attribute.entry() for name, attribute in [*kept, *ours.items()]},
    }


def _text(attributes: Mapping[str, Attribute], name: str) -> str:
    return attributes[name].text if name in attributes else ""


def _is_timestamp(text: str, *, not_after: int) -> bool:
    """False where anybody else than this pipeline wrote the attribute."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(not_after)) and int(text) <= not_after
