"""Threads that do a step over and over: as many as pay at the moment, until nothing is left to do."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from login_pipeline.sqs.concurrency import Concurrency

Step = Callable[[], bool]
"""Makes a call, or some at once; False when its thread has nothing left to do."""


def work(step: Step, concurrency: Concurrency, *, calls: int) -> None:
    """Returns when each thread has found nothing left to do. At an interrupt the calls under way are waited for.

    Args:
        step: What they do.
        concurrency: How many of them there should be.
        calls: How many there are to make, about: a few need no crowd.

    Raises:
        Exception: what a step raised; the others end with the step that they are at.
    """
    with ThreadPoolExecutor(concurrency.most, thread_name_prefix="sqs") as pool:
        crew = _Crew(step, concurrency, pool)
        try:
            crew.wait(min(calls, concurrency.threads))
        finally:
            crew.stop()


class _Crew:
    """The threads at one piece of work."""

    def __init__(self, step: Step, concurrency: Concurrency, pool: ThreadPoolExecutor) -> None:
        self._step = step
        self._concurrency = concurrency
        self._pool = pool
        self._at_work = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._changed = Condition()

    def wait(self, threads: int) -> None:
        """Starts with so many threads, and waits for all that come to it."""
        with self._changed:
            for _ in range(threads):
                self._hire()
            self._changed.wait_for(lambda: self._at_work == 0)
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Has each thread end with the step that it is at."""
        self._stopped = True

    def _hire(self) -> None:
        self._at_work += 1
        self._pool.submit(self._thread)

    def _thread(self) -> None:
        try:
            while self._step() and self._stays():
                pass
        except BaseException as error:
            self._error = error
            self._stopped = True
        with self._changed:
            self._at_work -= 1
            self._changed.notify()

    def _stays(self) -> bool:
        """Whether there is still room for this thread; where there is more, another one comes."""
        if self._stopped:
            return False
        with self._changed:
            if self._at_work < self._concurrency.threads:
                self._hire()
            return self._at_work <= self._concurrency.threads
