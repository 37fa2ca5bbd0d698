"""Receives one bounded batch with many ReceiveMessage calls at once."""

import math
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from login_pipeline.errors import LoginPipelineError
from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.message import Message
from login_pipeline.sqs.worker_pool import WorkerPool

# Messages in one ReceiveMessage call. Source: Amazon SQS API Reference, ReceiveMessage.
MAX_MESSAGES = 10
# Polls at once for each that has brought messages. A short queue is asked over few connections: each has its price.
GROWTH = 4
# One empty poll proves nothing: SQS may not have asked the server that has the message.
EMPTY_POLLS = 3
# Of all bodies in a batch, and of what is in their envelopes, about: with 1 MiB each, which SQS takes, a full one would
# need 10 GB.
MAX_CHARACTERS = 256 * 1024 * 1024

# Long polls at once, each for at most so many messages; what each of them brought.
Receive = Callable[[Sequence[int]], Sequence[Sequence[Message]]]


class Batch(NamedTuple):
    """What one run received; `ran_dry` says that several long polls came back empty."""

    messages: list[Message]
    ran_dry: bool


class _Receiver:
    """One batch while it is received: the messages so far, and the room that is left, shared by the threads."""

    def __init__(self, receive: Receive, batch_size: int, calls_at_once: int, deadline: float) -> None:
        self.messages: list[Message] = []
        # Consecutive empty long polls; a poll that returns messages resets it.
        self.empty_polls = 0
        self._receive = receive
        self._calls_at_once = calls_at_once
        self._full_polls = self._under_way = 0
        self._room = batch_size
        self._characters = 0
        self._until = time.monotonic() + deadline
        self._lock = Lock()

    def calls(self) -> int:
        """How many calls are of use now: those that fill the batch; those that prove the queue empty, once one was."""
        if self.empty_polls:
            return EMPTY_POLLS - self.empty_polls
        return math.ceil(self._room / MAX_MESSAGES) if self.messages else 1

    @property
    def is_open(self) -> bool:
        """Whether there is room for more, and time."""
        return self._room > 0 and time.monotonic() < self._until

    def stop(self) -> None:
        """Lets the calls under way end, and makes no more."""
        self._until = 0

    def once(self) -> bool:
        """Polls once, or often at once; whether every poll brought messages."""
        with self._lock:
            growth = max(EMPTY_POLLS, GROWTH * self._full_polls)
            calls = min(self._calls_at_once, self.calls(), growth, self._polls_that_fit())
            firsts = range(0, min(self._room, calls * MAX_MESSAGES), MAX_MESSAGES)
            sizes = [min(MAX_MESSAGES, self._room - first) for first in firsts]
            self._room -= sum(sizes)
            self._under_way += len(sizes)
        if not sizes:
            return False
        polls = self._receive(sizes)
        received = [message for poll in polls for message in poll]
        empty = sum(not poll for poll in polls)
        with self._lock:
            self._room += sum(sizes) - len(received)
            self._under_way -= len(sizes)
            self.messages += received
            self._full_polls += len(polls) - empty
            self.empty_polls = empty if received else self.empty_polls + empty
            self._characters += sum(len(message.body) for message in received)
            self._characters += sum(len(each.content) for each in received if each.content is not each.body)
            if self._characters >= MAX_CHARACTERS:
                self.stop()
        return not empty

    def _polls_that_fit(self) -> int:
        """As far as the bodies so far say, before they have MAX_CHARACTERS together with those under way."""
        if not self._characters:
            return self._calls_at_once
        polls = (MAX_CHARACTERS - self._characters) * self._full_polls // self._characters
        return max(1, polls - self._under_way)

    def again(self) -> bool:
        """Polls once more, unless the batch is full or time is up; False also when SQS fails or a poll is empty."""
        try:
            return self.is_open and self.once()
        except LoginPipelineError:
            self.stop()
            return False


@no_cycle_collection()
def receive_batch(receive: Receive, *, batch_size: int, workers: WorkerPool, deadline: float) -> Batch:
    """Receives until the batch is full, the queue runs dry, or `deadline` seconds have passed.

    Full is also a batch whose bodies have MAX_CHARACTERS together; the calls under way may still add to it.

    The first call goes alone, so that a wrong setting costs one call. A message that came twice is kept once,
    with its newest receipt handle. At an interrupt no more calls are made, and what is under way is waited for,
    even if more signals follow: what SQS has delivered must be known, to be released.

    Raises:
        LoginPipelineError: no call succeeded. Once messages are held, an error only ends the receiving.
    """
    receiver = _Receiver(receive, batch_size, workers.calls_per_step, deadline)
    with deferred_interrupts(receiver.stop):
        receiver.once()
        while receiver.is_open and receiver.empty_polls < EMPTY_POLLS:
            workers.repeat(receiver.again, calls=receiver.calls(), growing=True)
    newest = {message.message_id: message for message in receiver.messages}
    return Batch(list(newest.values()), ran_dry=receiver.empty_polls >= EMPTY_POLLS)
