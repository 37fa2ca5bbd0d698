"""One standard queue: what can be received stands in line, what cannot yet is in a heap by the time it can be.

Sending, receiving, deleting and changing cost the same however many messages there are; at most the heap's logarithm.
Nothing here knows the time: `now` is given, in seconds of any clock that does not go back.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from benchmarks.sqs_server.errors import SqsError, invalid_value
from benchmarks.sqs_server.messages import DELAYED, DELETED, IN_FLIGHT, VISIBLE, Message
from benchmarks.sqs_server.receipt_handles import ReceiptHandles

MAX_IN_FLIGHT = 120_000
"""Source: Amazon SQS Developer Guide, "Amazon SQS message quotas"."""
_FEW = 1_000


@dataclass
class Served:
    """What a queue has done since the server started, in messages."""

    sent: int = 0
    receives_with_messages: int = 0
    """Calls of ReceiveMessage that were not answered empty."""
    received: int = 0
    redelivered: int = 0
    """Of those received: the ones that had been received before."""
    deleted: int = 0
    moved_away: int = 0
    """To the dead-letter queue, by the redrive policy."""


@dataclass(frozen=True)
class RedrivePolicy:
    """After how many deliveries a message is moved, and where to."""

    max_receive_count: int
    dead_letter_queue: "Queue"


@dataclass(eq=False)
class Queue:
    """One queue. Its attributes' names are those of SetQueueAttributes; what they hold is checked elsewhere."""

    name: str
    arn: str
    handles: ReceiptHandles
    max_in_flight: int = MAX_IN_FLIGHT
    redrive_policy: RedrivePolicy | None = None
    served: Served = field(default_factory=Served)
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    _line: deque[Message] = field(default_factory=deque)
    """What can be received, and what was deleted while it stood there, which is left out when its turn comes."""
    _hidden: list[tuple[float, int]] = field(default_factory=list)
    """A heap of times and message numbers; one that does not fit its message any more is passed over."""
    _known: dict[int, Message] = field(default_factory=dict)
    """By number: each message that is hidden, or was received and is not deleted."""

    def put(self, message: Message, *, hidden_until: float = 0.0, now: float = 0.0) -> None:
        """Adds a message, which can be received from `hidden_until` on."""
        if hidden_until > now:
            self.delayed += 1
            self._hide(message, DELAYED, hidden_until)
        else:
            self._show(message)

    def receive(self, most: int, visibility_timeout: float, now: float) -> list[Message]:
        """Delivers up to `most` messages and hides them for that many seconds.

        Returns:
            The messages, each with the number of this delivery. None where none can be received.
        """
        self._show_what_is_due(now)
        received: list[Message] = []
        while self.visible and len(received) < most and self.in_flight + len(received) < self.max_in_flight:
            message = self._line.popleft()
            if message.state == VISIBLE:
                self.visible -= 1
                if self._moves_away(message):
                    continue
                message.receive_count += 1
                received.append(message)
        self.served.receives_with_messages += bool(received)
        for message in received:
            self._deliver(message, visibility_timeout, now)
        return received

    def is_at_its_limit(self) -> bool:
        """Whether as many messages are in flight as may be, so that none is delivered."""
        return self.in_flight >= self.max_in_flight

    def delete(self, handle: str) -> None:
        """Deletes the message; with a handle that is not its newest nothing happens, and that is no error.

        Raises:
            SqsError: the handle is none of this queue.
        """
        message = self._by(handle)
        if message is None:
            return
        self._leave(message)
        message.state = DELETED
        del self._known[message.number]
        self.served.deleted += 1

    def hide(self, handle: str, visibility_timeout: float, now: float) -> None:
        """Lets a message that is in flight come back after so many seconds from now.

        Raises:
            SqsError: the handle is none of this queue, or its message is not in flight or is deleted.
        """
        self._show_what_is_due(now)
        number, _ = self._read(handle)
        message = self._known.get(number)
        if message is None:
            raise invalid_value(
                "ReceiptHandle", handle, "Message does not exist or is not available for visibility timeout change."
            )
        if message.state != IN_FLIGHT:
            raise SqsError("MessageNotInflight", "The message referred to isn't in flight.")
        if self._by(handle) is None:
            return
        if visibility_timeout > 0:
            self._push(message, now + visibility_timeout)
        else:
            self._leave(message)
            self._show(message)

    def next_due(self, now: float) -> float | None:
        """When the next hidden message can be received, at the earliest; None where nothing is hidden.

        What is due already stands in line afterwards.
        """
        self._show_what_is_due(now)
        return self._hidden[0][0] if self._hidden else None

    def purge(self) -> None:
        """Deletes every message."""
        self.visible = self.in_flight = self.delayed = 0
        self._line.clear()
        self._hidden.clear()
        self._known.clear()

    def _deliver(self, message: Message, visibility_timeout: float, now: float) -> None:
        self.served.received += 1
        self.served.redelivered += message.receive_count > 1
        if visibility_timeout > 0:
            self.in_flight += 1
            self._hide(message, IN_FLIGHT, now + visibility_timeout)
        else:
            self._known[message.number] = message
            self._show(message)

    def _moves_away(self, message: Message) -> bool:
        """Whether the redrive policy moved it, with its id, its time and its count, as SQS does."""
        policy = self.redrive_policy
        if policy is None or message.receive_count < policy.max_receive_count:
            return False
        self._known.pop(message.number, None)
        self.served.moved_away += 1
        message.source_arn = self.arn
        policy.dead_letter_queue.put(message)
        return True

    def _show(self, message: Message) -> None:
        message.state = VISIBLE
        self.visible += 1
        self._line.append(message)

    def _hide(self, message: Message, state: int, until: float) -> None:
        message.state = state
        self._known[message.number] = message
        self._push(message, until)

    def _push(self, message: Message, until: float) -> None:
        message.visible_at = until
        heapq.heappush(self._hidden, (until, message.number))
        hidden = self.in_flight + self.delayed
        if len(self._hidden) > 2 * hidden + _FEW:  # so that deleted messages leave nothing behind for hours
            self._hidden = [(at, number) for at, number in self._hidden if self._is_hidden(at, number)]
            heapq.heapify(self._hidden)

    def _is_hidden(self, until: float, number: int) -> bool:
        message = self._known.get(number)
        return message is not None and message.visible_at == until and message.state in (IN_FLIGHT, DELAYED)

    def _show_what_is_due(self, now: float) -> None:
        while self._hidden and (self._hidden[0][0] <= now or not self._is_hidden(*self._hidden[0])):
            at, number = heapq.heappop(self._hidden)
            if self._is_hidden(at, number):
                message = self._known[number]
                self._leave(message)
                self._show(message)

    def _leave(self, message: Message) -> None:
        """Takes it out of the count of its state."""
        if message.state == VISIBLE:
            self.visible -= 1
        elif message.state == IN_FLIGHT:
            self.in_flight -= 1
        else:
            self.delayed -= 1

    def _read(self, handle: str) -> tuple[int, int]:
        known = self.handles.read(handle)
        if known is None:
            message = f'The input receipt handle "{handle}" is not a valid receipt handle.'
            raise SqsError("ReceiptHandleIsInvalid", message)
        return known

    def _by(self, handle: str) -> Message | None:
        """The message whose newest handle this is."""
        number, receive_count = self._read(handle)
        message = self._known.get(number)
        return message if message is not None and message.receive_count == receive_count else None
