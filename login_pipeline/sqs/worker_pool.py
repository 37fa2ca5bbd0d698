"""Threads that each repeat one step until it finds nothing left to do."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock

# Calls that a step makes at once: libcurl makes them together for less, and threads wait for each other.
CALLS_PER_STEP = 32


class WorkerPool:
    """Makes up to `max_calls` calls at once: several in each step of each thread."""

    def __init__(self, max_calls: int) -> None:
        self.calls_per_step = min(CALLS_PER_STEP, max_calls)
        self._max_threads = max_calls // self.calls_per_step

    def repeat(self, step: Callable[[], bool], *, calls: int, growing: bool = False) -> None:
        """Returns when each thread has found nothing left to do; at an interrupt, when the steps under way are done.

        Args:
            step: Makes up to `calls_per_step` calls; False where its thread has nothing left to do.
            calls: Approximate number of calls to make; caps the number of threads.
            growing: One thread begins, and each step that finds more to do starts another one.

        Raises:
            Exception: what a step raised; the other threads end with the step that they are at.
        """
        threads = max(1, min(-(-calls // self.calls_per_step), self._max_threads))
        started: list[Future[None]] = []
        starting, stopped = Lock(), Event()

        def start_worker() -> None:
            with starting:
                if len(started) < threads:
                    started.append(pool.submit(keep_running))

        def keep_running() -> None:
            try:
                while not stopped.is_set() and step():
                    start_worker()
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(threads, thread_name_prefix="sqs") as pool:
            try:
                for _ in range(1 if growing else threads):
                    start_worker()
                for worker in started:  # which grows
                    worker.result()
            finally:
                stopped.set()
