"""A login message as SQS delivers it, and as it stands on the dead-letter queue."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

REASON = "reason"
ORIGINAL_MESSAGE_ID = "original_message_id"
ORIGINAL_SENT_TIMESTAMP = "original_sent_timestamp"

_MESSAGE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As SQS makes them. Whoever may send can write the attribute: what is taken for an id is stored and logged, so it can
be no other text, and none of the inbox's counters (sql/inbox.sql)."""


class Message(NamedTuple):
    """A received message; `sent_timestamp` is in milliseconds since the epoch.

    `message_id` and `sent_timestamp` are those of the first sending: a message that was moved to the
    dead-letter queue and back has new ones in SQS, and is still the same login. `sqs_message_id` is the one
    of this sending. Attributes that this pipeline would not have written are ignored: it was first sent then.
    """

    message_id: str
    sqs_message_id: str
    receipt_handle: str
    sent_timestamp: int
    receive_count: int
    body: str
    reason: str = ""
    """Why it is on the dead-letter queue, if this pipeline put it there."""

    @classmethod
    def from_sqs(cls, message: Mapping[str, Any]) -> Self:
        """From an entry of ReceiveMessage's answer, with all its attributes."""
        system, own = message["Attributes"], message.get("MessageAttributes")
        sent = int(system["SentTimestamp"])
        if not own:
            return cls(
                message["MessageId"],
                message["MessageId"],
                message["ReceiptHandle"],
                sent,
                int(system["ApproximateReceiveCount"]),
                message["Body"],
            )
        original_id = str(own.get(ORIGINAL_MESSAGE_ID, {}).get("StringValue", ""))
        original_sent = _timestamp(own.get(ORIGINAL_SENT_TIMESTAMP, {}).get("StringValue", ""), not_after=sent)
        came_back = _MESSAGE_ID.fullmatch(original_id) is not None and original_sent is not None
        return cls(
            message_id=original_id if came_back else message["MessageId"],
            sqs_message_id=message["MessageId"],
            receipt_handle=message["ReceiptHandle"],
            sent_timestamp=original_sent if came_back and original_sent is not None else sent,
            receive_count=int(system["ApproximateReceiveCount"]),
            body=message["Body"],
            reason=str(own.get(REASON, {}).get("StringValue", "")),
        )


def dead_letter(message_id: str, sent_timestamp: int, body: str, reason: str) -> dict[str, Any]:
    """What SendMessageBatch puts on the dead-letter queue: the body as it came, and where it came from."""
    letter = sent_again(message_id, sent_timestamp, body)
    letter["MessageAttributes"][REASON] = {"DataType": "String", "StringValue": reason}
    return letter


def sent_again(message_id: str, sent_timestamp: int, body: str) -> dict[str, Any]:
    """What SendMessageBatch puts on a queue so that the message stays the one that it was."""
    return {
        "MessageBody": body,
        "MessageAttributes": {
            ORIGINAL_MESSAGE_ID: {"DataType": "String", "StringValue": message_id},
            ORIGINAL_SENT_TIMESTAMP: {"DataType": "Number", "StringValue": str(sent_timestamp)},
        },
    }


def _timestamp(text: str, *, not_after: int) -> int | None:
    """The time in milliseconds, or None where anybody else than this pipeline wrote the attribute."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(not_after)) and int(text) <= not_after:
        return int(text)
    return None
