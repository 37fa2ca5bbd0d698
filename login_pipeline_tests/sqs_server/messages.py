"""A message on a queue: what of its JSON never changes is made once, when it is sent."""

import hashlib

import msgspec

from login_pipeline_tests.sqs_server.message_attributes import Attributes

VISIBLE, IN_FLIGHT, DELAYED, DELETED = range(4)


class Message:
    """One message; times are milliseconds since the epoch.

    `json` has the id, the MD5 and the body, `{"MessageId":"...","MD5OfBody":"...","Body":"..."`, still open.
    """

    __slots__ = (
        "attributes",
        "first_received",
        "json",
        "number",
        "receive_count",
        "sent",
        "source_arn",
        "state",
        "visible_at",
    )

    def __init__(self, number: int, json: bytes, sent: int, attributes: Attributes | None = None) -> None:
        self.number = number
        self.json = json
        self.sent = sent
        self.attributes = attributes
        self.receive_count = 0
        self.first_received = 0
        self.visible_at = 0
        self.state = VISIBLE
        # Of the queue whose redrive policy moved it here.
        self.source_arn = b""

    # The same for all.
    sender = b"AIDAEXAMPLEBENCHMARKS"

    @property
    def message_id(self) -> str:
        """As SQS makes them: a UUID in lower case."""
        return self.json[14:50].decode()

    @property
    def md5_of_body(self) -> str:
        """In hexadecimal digits."""
        return self.json[65:97].decode()


def message_json(message_id: str, body: str) -> bytes:
    """What a message's `json` holds."""
    return b'{"MessageId":"%b","MD5OfBody":"%b","Body":%b' % (
        message_id.encode(),
        md5(body.encode()).encode(),
        msgspec.json.encode(body),
    )


def md5(content: bytes) -> str:
    """The checksum by which a client of SQS knows that its message arrived as it was sent."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
