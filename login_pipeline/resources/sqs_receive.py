"""Receives one bounded batch with many ReceiveMessage calls at once."""

import math
import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from login_pipeline.errors import LoginPipelineError
from login_pipeline.garbage import no_cycle_collection
from login_pipeline.interrupts import deferred_interrupts
from login_pipeline.resources.concurrency import Concurrency
from login_pipeline.resources.crew import work
from login_pipeline.resources.sqs_messages import Message

MAX_MESSAGES = 10
"""Messages in one ReceiveMessage call. Source: Amazon SQS API Reference, ReceiveMessage."""

EMPTY_POLLS = 3
"""One empty poll proves nothing: SQS may not have asked the server that has the message."""

MOST_CHARACTERS = 256 * 1024 * 1024
"""Of all bodies in a batch, about: with 1 MiB each, which SQS takes, a full one would need 10 GB."""

Receive = Callable[[int], list[Message]]
"""Long-polls for at most so many messages, with as many calls at once as that takes."""


class Batch(NamedTuple):
    """What one run received; `ran_dry` says that several long polls came back empty."""

    messages: list[Message]
    ran_dry: bool


class _Receiver:
    """One batch while it is received: the messages so far, and the room that is left, shared by the threads."""

    def __init__(self, receive: Receive, batch_size: int, concurrency: Concurrency, deadline: float) -> None:
        self.messages: list[Message] = []
        self.empty_polls = 0
        """In a row."""
        self._receive = receive
        self._concurrency = concurrency
        self._room = batch_size
        self._characters = 0
        self._until = time.monotonic() + deadline
        self._lock = Lock()

    def calls_to_fill(self) -> int:
        return math.ceil(self._room / MAX_MESSAGES)

    @property
    def is_open(self) -> bool:
        """Whether there is room for more, and time."""
        return self._room > 0 and time.monotonic() < self._until

    def stop(self) -> None:
        """Lets the calls under way end, and makes no more."""
        self._until = 0

    def once(self) -> bool:
        """Calls once, or often at once while the queue is full; whether messages came."""
        calls = self._concurrency.calls_of_a_thread if self.messages and not self.empty_polls else 1
        with self._lock:
            wanted = min(self._room, MAX_MESSAGES * calls)
            self._room -= wanted
        if not wanted:
            return False
        received = self._receive(wanted)
        with self._lock:
            self._room += wanted - len(received)
            self.messages += received
            self.empty_polls = 0 if received else self.empty_polls + 1
            self._characters += sum(len(message.body) for message in received)
            if self._characters >= MOST_CHARACTERS:
                self.stop()
        return bool(received)

    def again(self) -> bool:
        """Calls once more, unless the batch is full or time is up; False also when SQS fails or has no message."""
        try:
            return self.is_open and self.once()
        except LoginPipelineError:
            self.stop()
            return False


@no_cycle_collection()
def receive_batch(receive: Receive, *, batch_size: int, concurrency: Concurrency, deadline: float) -> Batch:
    """Receives until the batch is full, the queue runs dry, or `deadline` seconds have passed.

    Full is also a batch whose bodies have MOST_CHARACTERS together; the calls under way may still add to it.

    The first call goes alone, so that a wrong setting costs one call. A message that came twice is kept once,
    with its newest receipt handle. At an interrupt no more calls are made, and what is under way is waited for,
    whatever signals follow: what SQS has delivered must be known, to be handed back.

    Raises:
        LoginPipelineError: no call succeeded. Once messages are in hand, an error only ends the receiving.
    """
    receiver = _Receiver(receive, batch_size, concurrency, deadline)
    with deferred_interrupts(receiver.stop):
        receiver.once()
        while receiver.is_open and receiver.empty_polls < EMPTY_POLLS:
            work(receiver.again, concurrency, calls=1 if receiver.empty_polls else receiver.calls_to_fill())
    newest = {message.message_id: message for message in receiver.messages}
    return Batch(list(newest.values()), ran_dry=receiver.empty_polls >= EMPTY_POLLS)
