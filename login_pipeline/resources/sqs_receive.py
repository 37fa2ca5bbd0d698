"""Receives one bounded batch with many ReceiveMessage calls at once."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

from login_pipeline.errors import LoginPipelineError
from login_pipeline.resources.sqs_messages import Message

MAX_MESSAGES = 10
"""Messages in one ReceiveMessage call. Source: Amazon SQS API Reference, ReceiveMessage."""

EMPTY_POLLS = 3
"""One empty poll proves nothing: SQS may not have asked the server that has the message."""

Receive = Callable[[int], list[Message]]
"""Long-polls once, for at most so many messages."""


class Batch(NamedTuple):
    """What one run received; `ran_dry` says that several long polls came back empty."""

    messages: list[Message]
    ran_dry: bool


class _Room:
    """How many messages the batch still has room for, shared by the threads."""

    def __init__(self, messages: int) -> None:
        self._free = messages
        self._lock = Lock()

    def take(self) -> int:
        """Room for one call's messages; 0 when the batch is full."""
        with self._lock:
            taken = min(self._free, MAX_MESSAGES)
            self._free -= taken
            return taken

    def give_back(self, messages: int) -> None:
        with self._lock:
            self._free += messages


def receive_batch(receive: Receive, *, batch_size: int, threads: int, deadline: float) -> Batch:
    """Receives until the batch is full, the queue runs dry, or `deadline` seconds have passed.

    The first call goes alone, so that a wrong setting costs one call. A message that came twice is kept once,
    with its newest receipt handle.

    Raises:
        LoginPipelineError: no call succeeded. Once messages are in hand, an error only ends the receiving.
    """
    until = time.monotonic() + deadline
    messages = receive(min(batch_size, MAX_MESSAGES))
    empty_polls = 0 if messages else 1
    if messages:
        room = _Room(batch_size - len(messages))
        calls = math.ceil((batch_size - len(messages)) / MAX_MESSAGES)
        with ThreadPoolExecutor(threads, thread_name_prefix="receive") as pool:
            workers = range(min(threads, calls))
            drains = [pool.submit(_receive_until_dry, receive, room, until, messages) for _ in workers]
        empty_polls = sum(drain.result() for drain in drains)
    while 0 < empty_polls < EMPTY_POLLS and time.monotonic() < until:
        late = receive(min(batch_size - len(messages), MAX_MESSAGES))
        messages += late
        empty_polls = 0 if late else empty_polls + 1
    newest = {message.message_id: message for message in messages}
    return Batch(list(newest.values()), ran_dry=empty_polls >= EMPTY_POLLS)


def _receive_until_dry(receive: Receive, room: _Room, until: float, messages: list[Message]) -> bool:
    """Adds to `messages`; True when a poll came back empty, False when the batch was full or time was up."""
    while time.monotonic() < until and (free := room.take()):
        try:
            received = receive(free)
        except LoginPipelineError:
            return False
        messages += received
        room.give_back(free - len(received))
        if not received:
            return True
    return False
