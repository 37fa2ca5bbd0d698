"""One standard queue: what can be received stands in line, what cannot yet is in a heap by the time it can be.

A call costs the same however many messages there are; at most the heap's logarithm. Nothing here knows the time: `now`
is given, in milliseconds since the epoch, by a clock that does not go back.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value
from login_pipeline_tests.sqs_server.messages import DELAYED, DELETED, IN_FLIGHT, VISIBLE, Message
from login_pipeline_tests.sqs_server.receipt_handles import ReceiptHandles

# Source: Amazon SQS Developer Guide, "Amazon SQS message quotas".
MAX_IN_FLIGHT = 120_000
_FEW = 1_000


@dataclass
class Served:
    """What a queue has done since the server started, in messages."""

    sent: int = 0
    # Calls of ReceiveMessage that were not answered empty.
    receives_with_messages: int = 0
    received: int = 0
    # Of those received: the ones that had been received before.
    redelivered: int = 0
    deleted: int = 0
    # To the dead-letter queue, by the redrive policy.
    moved_away: int = 0


@dataclass(frozen=True)
class RedrivePolicy:
    """After how many deliveries a message is moved, and where to."""

    max_receive_count: int
    dead_letter_queue: "Queue"


@dataclass(eq=False)
class Queue:
    """One queue, and how many of its messages are in which state."""

    name: str
    arn: str
    handles: ReceiptHandles
    max_in_flight: int = MAX_IN_FLIGHT
    redrive_policy: RedrivePolicy | None = None
    served: Served = field(default_factory=Served)
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    # What can be received, and what was deleted while it stood there, which is left out when its turn comes.
    _line: deque[Message] = field(default_factory=deque)
    # A heap of times, and of the numbers of the messages that were hidden until then, if they still are.
    _hidden: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    # By number: each message that is hidden, or was received and is not deleted.
    _known: dict[int, Message] = field(default_factory=dict)

    def put(self, message: Message, *, hidden_until: int = 0, now: int = 0) -> None:
        """Adds a message, which can be received from `hidden_until` on."""
        if hidden_until > now:
            self.delayed += 1
            self._hide([message], DELAYED, hidden_until)
        else:
            self._show(message)

    def receive(self, most: int, visibility_timeout: int, now: int) -> list[Message]:
        """Delivers up to `most` messages and hides them for that many seconds.

        Returns:
            The messages, each with the count of this delivery. None where none can be received.
        """
        self.show_due(now)
        received = self._take(min(most, self.max_in_flight - self.in_flight))
        if not received:
            return received
        self.served.receives_with_messages += 1
        self.served.received += len(received)
        for message in received:
            if message.receive_count:
                self.served.redelivered += 1
            else:
                message.first_received = now
            message.receive_count += 1
        self.in_flight += len(received)
        self._hide(received, IN_FLIGHT, now + visibility_timeout * 1000)
        if not visibility_timeout:
            self.show_due(now)
        return received

    def is_at_its_limit(self) -> bool:
        """Whether as many messages are in flight as may be, so that none is delivered."""
        return self.in_flight >= self.max_in_flight

    def delete(self, handle: str) -> None:
        """Deletes the message; with a handle that is not its newest nothing happens, and that is no error.

        Raises:
            SqsError: the handle is none of this queue.
        """
        number, receive_count = self.handles.read(handle)
        message = self._known.get(number)
        if message is None or message.receive_count != receive_count:
            return
        self._leave(message)
        message.state = DELETED
        del self._known[number]
        self.served.deleted += 1

    def hide(self, handle: str, visibility_timeout: int, now: int) -> None:
        """Lets a message that is in flight come back after so many seconds from now.

        Raises:
            SqsError: the handle is none of this queue, or its message is not in flight or is deleted.
        """
        self.show_due(now)
        number, receive_count = self.handles.read(handle)
        message = self._known.get(number)
        if message is None:
            reason = "Message does not exist or is not available for visibility timeout change."
            raise invalid_value("ReceiptHandle", handle, reason)
        if message.state != IN_FLIGHT:
            raise SqsError("MessageNotInflight", "The message referred to isn't in flight.")
        if message.receive_count == receive_count:
            self._hide([message], IN_FLIGHT, now + visibility_timeout * 1000)
            self.show_due(now)

    def show_due(self, now: int) -> None:
        """Puts in line what was hidden until now."""
        while self._hidden and self._hidden[0][0] <= now:
            for message in self._still_hidden(*heapq.heappop(self._hidden)):
                self._leave(message)
                self._show(message)

    def next_due(self) -> int | None:
        """When the next hidden message comes into line; None where nothing is hidden."""
        while self._hidden and not self._still_hidden(*self._hidden[0]):
            heapq.heappop(self._hidden)
        return self._hidden[0][0] if self._hidden else None

    def purge(self) -> None:
        """Deletes every message."""
        self.visible = self.in_flight = self.delayed = 0
        self._line.clear()
        self._hidden.clear()
        self._known.clear()

    def _take(self, most: int) -> list[Message]:
        taken: list[Message] = []
        while self.visible and len(taken) < most:
            message = self._line.popleft()
            if message.state == VISIBLE:
                self.visible -= 1
                if not (self.redrive_policy and self._moves_away(message, self.redrive_policy)):
                    taken.append(message)
        return taken

    def _moves_away(self, message: Message, policy: RedrivePolicy) -> bool:
        """Whether the redrive policy moved it, with its id, its time and its count, as SQS does."""
        if message.receive_count < policy.max_receive_count:
            return False
        self._known.pop(message.number, None)
        self.served.moved_away += 1
        message.source_arn = self.arn.encode()
        policy.dead_letter_queue.put(message)
        return True

    def _show(self, message: Message) -> None:
        message.state = VISIBLE
        self.visible += 1
        self._line.append(message)

    def _hide(self, messages: list[Message], state: int, until: int) -> None:
        """Messages that are counted in their new state already."""
        for message in messages:
            message.state = state
            message.visible_at = until
            self._known[message.number] = message
        heapq.heappush(self._hidden, (until, tuple([message.number for message in messages])))
        if len(self._hidden) > 2 * (self.in_flight + self.delayed) + _FEW:
            # What was deleted would else be remembered until its time, which may be hours away.
            self._hidden = [(at, numbers) for at, numbers in self._hidden if self._still_hidden(at, numbers)]
            heapq.heapify(self._hidden)

    def _still_hidden(self, until: int, numbers: tuple[int, ...]) -> list[Message]:
        messages = [self._known[number] for number in numbers if number in self._known]
        return [each for each in messages if each.visible_at == until and each.state in (IN_FLIGHT, DELAYED)]

    def _leave(self, message: Message) -> None:
        """Takes it out of the count of its state."""
        if message.state == IN_FLIGHT:
            self.in_flight -= 1
        elif message.state == VISIBLE:
            self.visible -= 1
        else:
            self.delayed -= 1
