"""As many threads make calls as there is work for, and no more."""

import threading

import pytest

from login_pipeline.sqs.worker_pool import CALLS_PER_STEP, WorkerPool


def threads_at_once(pool: WorkerPool, *, calls: int, more: int, growing: bool = False) -> int:
    """How many steps were under way at once, of which the first `more` find more to do."""
    at_once: list[int] = []
    under_way, left = threading.Semaphore(99), iter(range(more))
    lock = threading.Lock()

    def step() -> bool:
        with under_way:
            at_once.append(99 - under_way._value)
            threading.Event().wait(0.02)
            with lock:
                return next(left, None) is not None

    pool.repeat(step, calls=calls, growing=growing)
    return max(at_once)


@pytest.mark.parametrize(
    ("max_calls", "threads"), [(1, 1), (CALLS_PER_STEP, 1), (2 * CALLS_PER_STEP, 2), (128, 128 // CALLS_PER_STEP)]
)
def test_no_more_calls_are_made_at_once_than_may_be(max_calls: int, threads: int) -> None:
    pool = WorkerPool(max_calls)
    assert pool.calls_per_step * threads <= max_calls
    assert threads_at_once(pool, calls=10_000, more=20) == threads
    assert threads_at_once(pool, calls=10_000, more=20, growing=True) == threads


def test_few_calls_take_few_threads() -> None:
    assert threads_at_once(WorkerPool(128), calls=2 * CALLS_PER_STEP, more=20) == 2


def test_one_thread_is_enough_where_its_first_step_finds_nothing_more() -> None:
    assert threads_at_once(WorkerPool(128), calls=10_000, more=0, growing=True) == 1


def test_step_that_fails_ends_the_work_and_is_reported() -> None:
    calls = iter(range(10_000))

    def step() -> bool:
        if next(calls) == 50:
            raise LookupError("no call")
        return True

    with pytest.raises(LookupError, match="no call"):
        WorkerPool(64).repeat(step, calls=1_000)
    assert next(calls) < 10_000
