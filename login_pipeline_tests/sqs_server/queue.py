"""One standard queue: what can be received waits in line, what is in flight is in a heap by the time it comes back.

A call costs the same however many messages there are; at most the heap's logarithm. Nothing here knows the time: `now`
is given, in milliseconds since the epoch.
"""

import base64
import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from itertools import count

VISIBLE, IN_FLIGHT, DELETED = range(3)
# Characters of a receipt handle, as Amazon's have them today. The first ones say which delivery of which message it is.
HANDLE_LENGTH = 388
_HEAD = len("AQEB") + 16 + 8
_FEW = 1_000


class Message:
    """One message; times are milliseconds since the epoch.

    `json` has what never changes, `{"MessageId":"...","MD5OfBody":"...","Body":"..."`, still open; `attributes` the
    sender's, `,"MessageAttributes":{...}`.
    """

    __slots__ = ("attributes", "json", "number", "receive_count", "sent", "state", "visible_at")

    def __init__(self, number: int, json: bytes, sent: int, attributes: bytes) -> None:
        self.number = number
        self.json = json
        self.sent = sent
        self.attributes = attributes
        self.receive_count = 0
        self.visible_at = 0
        self.state = VISIBLE


class Queue:
    """One queue, and how many of its messages are in which state."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.visible = self.in_flight = 0
        # Since the start: messages, and the calls that delivered some.
        self.received = self.receives_with_messages = 0
        # The long polls that wait, first come first served; each says whether it was answered now.
        self.waiting: dict[Callable[[], bool], None] = {}
        self._numbers = count(1)
        self._handle_end = base64.b64encode(random.randbytes((HANDLE_LENGTH - _HEAD) * 3 // 4))  # noqa: S311 - no secret
        self._form = b'%%b,"ReceiptHandle":"AQEB%%016x%%08x%b","Attributes":{%b}%%b}' % (
            self._handle_end,
            b'"SentTimestamp":"%d","ApproximateReceiveCount":"%d"',
        )
        # What can be received, and what was deleted while it waited there, which is left out when its turn comes.
        self._line: deque[Message] = deque()
        # A heap of times, and of the numbers of the messages that were hidden until then, if they still are.
        self._hidden: list[tuple[int, tuple[int, ...]]] = []
        # By number: each message that was received and is not deleted.
        self._known: dict[int, Message] = {}

    def put(self, json: bytes, now: int, attributes: bytes = b"") -> None:
        """Adds a message, which is sent now."""
        self._show(Message(next(self._numbers), json, now, attributes))

    def receive(self, most: int, visibility_timeout: int, now: int) -> list[Message]:
        """Delivers up to `most` messages and hides them for that many seconds; each has the count of this delivery."""
        self.show_due(now)
        received: list[Message] = []
        while self.visible and len(received) < most:
            message = self._line.popleft()
            if message.state == VISIBLE:
                self.visible -= 1
                message.receive_count += 1
                self._known[message.number] = message
                received.append(message)
        if received:
            self.receives_with_messages += 1
            self.received += len(received)
            self.in_flight += len(received)
            self._hide(received, now + visibility_timeout * 1000)
        return received

    def describe(self, message: Message) -> bytes:
        """The JSON of a message that was just received."""
        count = message.receive_count
        return self._form % (message.json, message.number, count, message.sent, count, message.attributes)

    def delete(self, handle: str) -> bool:
        """Deletes the message of this handle; with one that is not its newest nothing happens, which is no error.

        Returns:
            False where the handle is none of this queue.
        """
        delivery = self._delivery(handle)
        message = delivery and self._known.get(delivery[0])
        if delivery and message and message.receive_count == delivery[1]:
            self._leave(message)
            message.state = DELETED
            del self._known[message.number]
        return bool(delivery)

    def hide(self, handle: str, visibility_timeout: int, now: int) -> bool:
        """Lets a message that is in flight come back after so many seconds from now; False where it is not."""
        self.show_due(now)
        delivery = self._delivery(handle)
        message = delivery and self._known.get(delivery[0])
        if not (delivery and message and message.state == IN_FLIGHT and message.receive_count == delivery[1]):
            return False
        self._hide([message], now + visibility_timeout * 1000)
        self.show_due(now)
        return True

    def show_due(self, now: int) -> None:
        """Puts in line what was hidden until now."""
        while self._hidden and self._hidden[0][0] <= now:
            for message in self._still_hidden(*heapq.heappop(self._hidden)):
                self._leave(message)
                self._show(message)

    def _show(self, message: Message) -> None:
        message.state = VISIBLE
        self.visible += 1
        self._line.append(message)

    def _hide(self, messages: list[Message], until: int) -> None:
        """Messages that are counted as in flight already."""
        for message in messages:
            message.state = IN_FLIGHT
            message.visible_at = until
        heapq.heappush(self._hidden, (until, tuple([message.number for message in messages])))
        if len(self._hidden) > 2 * self.in_flight + _FEW:
            # What was deleted would else be remembered until its time, which may be hours away.
            self._hidden = [(at, numbers) for at, numbers in self._hidden if self._still_hidden(at, numbers)]
            heapq.heapify(self._hidden)

    def _still_hidden(self, until: int, numbers: tuple[int, ...]) -> list[Message]:
        messages = [self._known[number] for number in numbers if number in self._known]
        return [each for each in messages if each.visible_at == until and each.state == IN_FLIGHT]

    def _leave(self, message: Message) -> None:
        """Takes it out of the count of its state."""
        if message.state == IN_FLIGHT:
            self.in_flight -= 1
        else:
            self.visible -= 1

    def _delivery(self, handle: str) -> tuple[int, int] | None:
        """The message's number, and its receive count then; None where the handle is none of this queue."""
        if handle[_HEAD:].encode() != self._handle_end:
            return None
        return int(handle[4:20], 16), int(handle[20:_HEAD], 16)


def message_json(message_id: str, body: str, body_json: bytes) -> bytes:
    """What a message's `json` holds."""
    md5 = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return b'{"MessageId":"%b","MD5OfBody":"%b","Body":%b' % (message_id.encode(), md5.encode(), body_json)
