"""What SQS's operations are asked, in AWS JSON 1.0: types are checked when a request is read, bounds when it is served.

Source: Amazon SQS API Reference.
"""

from typing import Protocol

import msgspec

from login_pipeline_tests.sqs_server.message_attributes import MessageAttribute


class Handled(msgspec.Struct, rename="pascal"):
    """What is done to one message in flight."""

    receipt_handle: str = ""


class Hidden(Handled, rename="pascal"):
    """A message that is to come back after so many seconds."""

    visibility_timeout: int | None = None


class Sent(msgspec.Struct, rename="pascal"):
    """A message that is sent."""

    message_body: str = ""
    delay_seconds: int | None = None
    message_attributes: dict[str, MessageAttribute] = {}


class Entry(Protocol):
    """An entry of a batch; its id names it in the answer."""

    id: str


class DeleteEntry(Handled, rename="pascal"):
    """Of DeleteMessageBatch."""

    id: str = ""


class HideEntry(Hidden, rename="pascal"):
    """Of ChangeMessageVisibilityBatch."""

    id: str = ""


class SendEntry(Sent, rename="pascal"):
    """Of SendMessageBatch."""

    id: str = ""


class DeleteMessage(Handled, rename="pascal"):
    """Deletes one message."""

    queue_url: str = ""


class ChangeMessageVisibility(Hidden, rename="pascal"):
    """Lets one message come back sooner or later."""

    queue_url: str = ""


class SendMessage(Sent, rename="pascal"):
    """Sends one message."""

    queue_url: str = ""


class OfQueue(msgspec.Struct, rename="pascal"):
    """DeleteQueue and PurgeQueue, and what all that follow have."""

    queue_url: str = ""


class DeleteMessageBatch(OfQueue, rename="pascal"):
    """Deletes up to ten."""

    entries: list[DeleteEntry] = []


class ChangeMessageVisibilityBatch(OfQueue, rename="pascal"):
    """Lets up to ten come back sooner or later."""

    entries: list[HideEntry] = []


class SendMessageBatch(OfQueue, rename="pascal"):
    """Sends up to ten."""

    entries: list[SendEntry] = []


class ReceiveMessage(OfQueue, rename="pascal"):
    """Receives up to ten."""

    max_number_of_messages: int = 1
    visibility_timeout: int | None = None
    wait_time_seconds: int | None = None
    message_system_attribute_names: list[str] = []
    # The same, by its older name.
    attribute_names: list[str] = []
    message_attribute_names: list[str] = []


class GetQueueAttributes(OfQueue, rename="pascal"):
    """Tells a queue's attributes."""

    attribute_names: list[str] = []


class SetQueueAttributes(OfQueue, rename="pascal"):
    """Changes some."""

    attributes: dict[str, str] = {}


class CreateQueue(msgspec.Struct, rename="pascal"):
    """Makes a queue."""

    queue_name: str = ""
    attributes: dict[str, str] = {}


class GetQueueUrl(msgspec.Struct, rename="pascal"):
    """Tells a queue's URL."""

    queue_name: str = ""
