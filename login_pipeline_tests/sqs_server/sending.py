"""SendMessage and SendMessageBatch."""

import re
import uuid
from typing import Any

import msgspec

from login_pipeline_tests.sqs_server import message_attributes
from login_pipeline_tests.sqs_server.account import Account, OwnedQueue
from login_pipeline_tests.sqs_server.batches import check_entries
from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value
from login_pipeline_tests.sqs_server.message_attributes import Attributes
from login_pipeline_tests.sqs_server.messages import Message, message_json
from login_pipeline_tests.sqs_server.queue_attributes import BOUNDS
from login_pipeline_tests.sqs_server.requests import SendMessage, SendMessageBatch, Sent

# Bytes of all messages of a batch together. Source: Amazon SQS API Reference, SendMessageBatch.
MAX_BATCH = 1_048_576
# Source: Amazon SQS API Reference, SendMessage.
_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def send_message(account: Account, request: SendMessage) -> bytes:
    """Sends one message."""
    return msgspec.json.encode(_send(account, account.by_url(request.queue_url), request))


def send_message_batch(account: Account, request: SendMessageBatch) -> bytes:
    """Sends each message that can be sent, and tells which could not."""
    owned = account.by_url(request.queue_url)
    check_entries("SendMessageBatch", request.entries)
    total = sum(_size(entry) for entry in request.entries)
    if total > MAX_BATCH:
        raise SqsError(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {MAX_BATCH} bytes. You have sent {total} bytes.",
        )
    successful, failed = [], []
    for entry in request.entries:
        try:
            successful.append({"Id": entry.id, **_send(account, owned, entry)})
        except SqsError as error:
            failed.append(error.entry(entry.id))
    return msgspec.json.encode({"Failed": failed, "Successful": successful})


def _send(account: Account, owned: OwnedQueue, sent: Sent) -> dict[str, Any]:
    numbers = owned.attributes.numbers
    _check(sent, numbers["MaximumMessageSize"])
    delay = numbers["DelaySeconds"] if sent.delay_seconds is None else sent.delay_seconds
    attributes = Attributes(sent.message_attributes) if sent.message_attributes else None
    now = account.clock.now()
    message_id = str(uuid.UUID(int=account.source.getrandbits(128), version=4))
    json = message_json(message_id, sent.message_body)
    message = Message(next(account.numbers), json, now, attributes)
    owned.queue.put(message, hidden_until=now + delay * 1000, now=now)
    owned.queue.served.sent += 1
    answer = {"MessageId": message_id, "MD5OfMessageBody": message.md5_of_body}
    return {**answer, "MD5OfMessageAttributes": attributes.md5} if attributes else answer


def _check(sent: Sent, most: int) -> None:
    if not sent.message_body:
        raise SqsError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _size(sent) > most:
        raise SqsError(
            "InvalidParameterValue",
            f"One or more parameters are invalid. Reason: Message must be shorter than {most} bytes.",
        )
    if _NOT_ALLOWED.search(sent.message_body):
        raise SqsError(
            "InvalidMessageContents",
            "The message has characters that are not allowed in XML 1.0.",
        )
    least, longest = BOUNDS["DelaySeconds"]
    if sent.delay_seconds is not None and not least <= sent.delay_seconds <= longest:
        raise invalid_value("DelaySeconds", sent.delay_seconds, f"DelaySeconds must be >= {least} and <= {longest}.")


def _size(sent: Sent) -> int:
    return len(sent.message_body.encode()) + message_attributes.check(sent.message_attributes)
