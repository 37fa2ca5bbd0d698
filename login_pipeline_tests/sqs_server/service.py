"""SQS's operations in AWS JSON 1.0, as far as the pipeline, its tests and the benchmarks call them.

Source: Amazon SQS API Reference.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable

import msgspec

from login_pipeline_tests.sqs_server.queue import Queue, message_json

Reply = Callable[[bytes], None]
# Called when nobody waits for the response.
GiveUp = Callable[[], None]

NOTHING = b"{}"


class Entry(msgspec.Struct, rename="pascal"):
    """An entry of any batch."""

    id: str
    receipt_handle: str = ""
    visibility_timeout: int = 0
    message_body: str = ""
    message_attributes: msgspec.Raw = msgspec.Raw()


class Request(msgspec.Struct, rename="pascal"):
    """What any operation is asked; defaults are those of a new queue."""

    queue_url: str = ""
    queue_name: str = ""
    entries: list[Entry] = []
    receipt_handle: str = ""
    attribute_names: list[str] = []
    max_number_of_messages: int = 1
    visibility_timeout: int = 30
    wait_time_seconds: int = 0


class RefusedError(Exception):
    """A call that SQS refuses, by its code."""


class Service:
    """The operations on one account's queues."""

    def __init__(self, endpoint: str) -> None:
        self.queues: dict[str, Queue] = {}
        self.calls: Counter[str] = Counter()
        self._endpoint = endpoint
        self._decode = msgspec.json.Decoder(Request).decode
        self._operations: dict[str, Callable[[Request], bytes]] = {
            "CreateQueue": lambda request: msgspec.json.encode({"QueueUrl": self.create_queue(request.queue_name).url}),
            "GetQueueAttributes": self._attributes,
            "SendMessageBatch": self._send,
            "DeleteMessage": self._delete_one,
            "DeleteMessageBatch": self._delete,
            "ChangeMessageVisibilityBatch": self._hide,
        }

    def create_queue(self, name: str) -> Queue:
        """A new queue."""
        return self.queues.setdefault(name, Queue(f"{self._endpoint}/000000000000/{name}"))

    def call(self, operation: str, content: bytes, reply: Reply) -> GiveUp | None:
        """Performs a call and replies: at once, or, where a long poll has to wait, later.

        Returns:
            What gives up waiting; None where it has replied.

        Raises:
            RefusedError: there is no such operation or queue.
        """
        self.calls[operation] += 1
        request = self._decode(content)
        if operation == "ReceiveMessage":
            return self._receive(request, reply)
        if operation not in self._operations:
            raise RefusedError("UnsupportedOperation")
        reply(self._operations[operation](request))
        return None

    def counts(self) -> dict[str, object]:
        """What was served since the start; `cpu_seconds` are this process's, for all it did."""
        names = ("visible", "in_flight", "received", "receives_with_messages")
        queues = {name: {each: getattr(queue, each) for each in names} for name, queue in self.queues.items()}
        return {"calls": self.calls, "queues": queues, "cpu_seconds": time.process_time()}

    def _queue(self, request: Request) -> Queue:
        try:
            return self.queues[request.queue_url.rpartition("/")[2]]
        except KeyError:
            raise RefusedError("QueueDoesNotExist") from None

    def _receive(self, request: Request, reply: Reply) -> GiveUp | None:
        queue = self._queue(request)

        def answer() -> bytes:
            received = queue.receive(request.max_number_of_messages, request.visibility_timeout, now())
            return b'{"Messages":[%b]}' % b",".join(map(queue.describe, received)) if received else NOTHING

        def is_answered() -> bool:
            if (content := answer()) is NOTHING:
                return False
            give_up()
            reply(content)
            return True

        def time_is_up() -> None:
            give_up()
            reply(answer())

        def give_up() -> None:
            queue.waiting.pop(is_answered, None)
            timer.cancel()

        content = answer()
        if content is not NOTHING or not request.wait_time_seconds:
            reply(content)
            return None
        queue.waiting[is_answered] = None
        timer = asyncio.get_running_loop().call_later(request.wait_time_seconds, time_is_up)
        return give_up

    def _attributes(self, request: Request) -> bytes:
        queue = self._queue(request)
        queue.show_due(now())
        attributes = {
            "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{queue.url.rpartition('/')[2]}",
            "ApproximateNumberOfMessages": str(queue.visible),
            "ApproximateNumberOfMessagesNotVisible": str(queue.in_flight),
            "ApproximateNumberOfMessagesDelayed": "0",
        }
        asked = attributes.keys() if "All" in request.attribute_names else request.attribute_names
        return msgspec.json.encode({"Attributes": {name: attributes[name] for name in asked if name in attributes}})

    def _send(self, request: Request) -> bytes:
        queue, sent = self._queue(request), []
        for entry in request.entries:
            message_id, body = str(uuid.uuid4()), msgspec.json.encode(entry.message_body)
            raw = bytes(entry.message_attributes)
            attributes = b',"MessageAttributes":%b' % raw if raw else b""
            queue.put(message_json(message_id, entry.message_body, body), now(), attributes)
            sent.append({"Id": entry.id, "MessageId": message_id})
        _wake(queue)
        return msgspec.json.encode({"Successful": sent, "Failed": []})

    def _delete_one(self, request: Request) -> bytes:
        if not self._queue(request).delete(request.receipt_handle):
            raise RefusedError("ReceiptHandleIsInvalid")
        return NOTHING

    def _delete(self, request: Request) -> bytes:
        queue = self._queue(request)
        return _each(request, lambda entry: queue.delete(entry.receipt_handle))

    def _hide(self, request: Request) -> bytes:
        queue = self._queue(request)
        response = _each(request, lambda entry: queue.hide(entry.receipt_handle, entry.visibility_timeout, now()))
        _wake(queue)
        return response


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _each(request: Request, act: Callable[[Entry], bool]) -> bytes:
    """Does it to each entry; an entry fails alone."""
    successful, failed = [], []
    for entry in request.entries:
        if act(entry):
            successful.append(b'{"Id":"%b"}' % entry.id.encode())  # an id needs no escapes
        else:
            failed.append(b'{"Id":"%b","SenderFault":true,"Code":"ReceiptHandleIsInvalid"}' % entry.id.encode())
    return b'{"Failed":[%b],"Successful":[%b]}' % (b",".join(failed), b",".join(successful))


def _wake(queue: Queue) -> None:
    """Answers the long polls for which there are messages now."""
    for is_answered in list(queue.waiting):
        if not queue.visible or not is_answered():
            return
