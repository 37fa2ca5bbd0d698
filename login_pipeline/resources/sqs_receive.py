"""Receives one bounded batch with many ReceiveMessage calls at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

from login_pipeline.errors import LoginPipelineError
from login_pipeline.resources.sqs_messages import Message

MAX_MESSAGES = 10
"""Messages in one ReceiveMessage call. Source: Amazon SQS API Reference, ReceiveMessage."""

Receive = Callable[[int], list[Message]]
"""Long-polls once, for at most so many messages."""


class Batch(NamedTuple):
    """What one run received; `ran_dry` says that long polls came back empty before the batch was full."""

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

    The first call goes alone, so that a wrong setting or an empty queue costs one call. A message that came
    twice is kept once, with its newest receipt handle.

    Raises:
        LoginPipelineError: no call succeeded. Once messages are in hand, an error only ends the receiving.
    """
    until = time.monotonic() + deadline
    messages = receive(min(batch_size, MAX_MESSAGES))
    if not messages:
        return Batch([], ran_dry=True)
    room = _Room(batch_size - len(messages))
    workers = min(threads, -(-(batch_size - len(messages)) // MAX_MESSAGES))
    with ThreadPoolExecutor(max(workers, 1), thread_name_prefix="receive") as pool:
        drains = [pool.submit(_receive_until, receive, room, until, messages) for _ in range(workers)]
    ran_dry = [drain.result() for drain in drains]
    newest = {message.message_id: message for message in messages}
    return Batch(list(newest.values()), any(ran_dry))


def _receive_until(receive: Receive, room: _Room, until: float, messages: list[Message]) -> bool:
    """Adds to `messages`; True when the queue ran dry, False when the batch was full or time was up."""
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
