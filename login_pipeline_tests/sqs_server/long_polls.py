"""The receives that wait for messages, first come first served, until there are some or their time is up."""

import asyncio
from collections.abc import Callable

from login_pipeline_tests.sqs_server.account import Clock
from login_pipeline_tests.sqs_server.queue import Queue
from login_pipeline_tests.sqs_server.receiving import NOTHING, Poll

# Seconds: a loop's timers may be a millisecond early.
_SLACK = 0.001


class _Waiting:
    """One receive that waits."""

    def __init__(self, poll: Poll, reply: Callable[[bytes], None]) -> None:
        self.poll = poll
        self.reply = reply
        self.timer: asyncio.TimerHandle | None = None


class LongPolls:
    """All receives that wait, by queue; false where none does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Queue, dict[_Waiting, None]] = {}
        self._due: int | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, poll: Poll, reply: Callable[[bytes], None]) -> Callable[[], None]:
        """Replies once there are messages, or without any when the poll's time is up.

        Returns:
            What ends the waiting without a reply.
        """
        waiting = _Waiting(poll, reply)
        self._waiting.setdefault(poll.queue, {})[waiting] = None
        waiting.timer = asyncio.get_running_loop().call_later(poll.wait, self._reply, waiting, NOTHING)
        self._set_alarm()
        return lambda: self._end(waiting)

    def wake(self) -> None:
        """Replies to those for whom there are messages now."""
        for queue, all_waiting in list(self._waiting.items()):
            queue.show_due(self._clock.now())
            for waiting in list(all_waiting) if queue.visible else ():
                answer = waiting.poll.answer(self._clock)
                if answer is None:
                    break
                self._reply(waiting, answer)
        self._set_alarm()

    def _reply(self, waiting: _Waiting, answer: bytes) -> None:
        self._end(waiting)
        waiting.reply(answer)

    def _end(self, waiting: _Waiting) -> None:
        if waiting.timer:
            waiting.timer.cancel()
        all_waiting = self._waiting.get(waiting.poll.queue, {})
        all_waiting.pop(waiting, None)
        if not all_waiting:
            self._waiting.pop(waiting.poll.queue, None)

    def _set_alarm(self) -> None:
        """For the moment when the next hidden message can be received."""
        due = min((at for queue in self._waiting if (at := queue.next_due()) is not None), default=None)
        if due == self._due:
            return
        if self._alarm:
            self._alarm.cancel()
        self._due = due
        self._alarm = None
        if due is not None:
            seconds = max(0, due - self._clock.now()) / 1000 + _SLACK
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._due = None
        self.wake()
