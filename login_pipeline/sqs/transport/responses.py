"""What SQS responds, as far as it is used. Numbers come as strings, so they are decoded leniently."""

from typing import Any

import msgspec


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


class Success(msgspec.Struct, gc=False):
    """An entry of a batch that succeeded."""

    id: str = msgspec.field(name="Id", default="")


class Failure(msgspec.Struct, gc=False):
    """An entry of a batch that failed; `senders_fault`: it would fail again."""

    id: str = msgspec.field(name="Id", default="")
    code: str = msgspec.field(name="Code", default="Unknown")
    senders_fault: bool = msgspec.field(name="SenderFault", default=False)


class BatchResponse(msgspec.Struct, gc=False):
    """The response of SendMessageBatch, DeleteMessageBatch and ChangeMessageVisibilityBatch."""

    successful: list[Success] = msgspec.field(name="Successful", default_factory=list)
    failed: list[Failure] = msgspec.field(name="Failed", default_factory=list)


class AttributesResponse(msgspec.Struct, gc=False):
    """GetQueueAttributes' response."""

    attributes: dict[str, Any] = msgspec.field(name="Attributes", default_factory=dict)
