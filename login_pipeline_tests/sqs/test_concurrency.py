"""How many calls are made at once: it follows from their answers, whatever makes them slow."""

import threading
from collections.abc import Callable

import pytest

from login_pipeline.sqs.concurrency import FEWEST, FIRST, Concurrency
from login_pipeline.sqs.worker_pool import work

MOST = 64
ROUNDS = 200


def settled(seconds: Callable[[int], float]) -> int:
    """What the limit comes to where answers take so many seconds, by how many are asked for at once."""
    concurrency = Concurrency(MOST)
    concurrency.answered(seconds(1))  # the first call of a run goes alone
    for _ in range(ROUNDS):
        for _ in range(concurrency.limit):
            concurrency.answered(seconds(concurrency.limit))
    return concurrency.limit


def test_far_queue_is_asked_as_often_at_once_as_may_be() -> None:
    assert settled(lambda _: 0.015) == MOST


def test_near_queue_whose_answers_wait_for_each_other_is_asked_by_few() -> None:
    assert settled(lambda at_once: 0.0001 * at_once) == FEWEST


def test_queue_that_takes_so_many_calls_at_once_and_no_more_is_asked_so_often() -> None:
    assert 20 <= settled(lambda at_once: 0.015 * max(1, at_once / 20)) <= 40


def test_queue_that_becomes_slow_is_asked_less_and_then_more_again() -> None:
    concurrency = Concurrency(MOST)
    limits = []
    for seconds in (0.015, 0.15, 0.015):
        for _ in range(2_000):
            concurrency.answered(seconds)
        limits.append(concurrency.limit)
    assert limits == [MOST, FEWEST, MOST]


def test_no_more_than_the_most_are_ever_asked() -> None:
    assert Concurrency(1).limit == 1
    assert Concurrency(MOST).limit == FIRST


@pytest.mark.parametrize("most", [1, 4, 15, 16, 17, 31, 32, 50, 100, 128])
def test_threads_together_make_no_more_calls_at_once_than_the_limit(most: int) -> None:
    concurrency = Concurrency(most, by_one_thread=16)
    for _ in range(5_000):
        assert concurrency.limit / 2 <= concurrency.threads * concurrency.calls_of_a_thread <= concurrency.limit
        concurrency.answered(0.015)
    assert concurrency.limit == most


def test_each_call_has_a_thread_of_its_own_where_none_can_be_made_together() -> None:
    concurrency = Concurrency(MOST, by_one_thread=16)
    concurrency.together(False)
    assert (concurrency.threads, concurrency.calls_of_a_thread) == (FIRST, 1)
    concurrency.together(True)
    assert (concurrency.threads, concurrency.calls_of_a_thread) == (1, 16)


def test_threads_come_as_the_limit_rises() -> None:
    """More threads wait for each other than there were in the beginning: it ends only if they are all there."""
    concurrency = Concurrency(FIRST + 1)
    together = threading.Barrier(FIRST + 1, timeout=30)
    calls = iter(range(10_000))

    def step() -> bool:
        if next(calls) < 500:
            concurrency.answered(0.015)
            return True
        together.wait()
        return False

    work(step, concurrency, calls=1)
    assert not together.broken


def test_threads_go_as_the_limit_falls() -> None:
    concurrency = Concurrency(FIRST)
    at_work = threading.Semaphore(FIRST)
    most_at_the_end: list[int] = []
    calls = iter(range(3_000))

    def step() -> bool:
        number = next(calls, None)
        if number is None:
            return False
        with at_work:
            concurrency.answered(0.0001 if number == 0 else 1.0)
            if number > 2_000:
                most_at_the_end.append(FIRST - at_work._value)
        return True

    work(step, concurrency, calls=FIRST)
    assert max(most_at_the_end) <= FEWEST


def test_step_that_fails_ends_the_work_and_is_told() -> None:
    calls = iter(range(10_000))

    def step() -> bool:
        if next(calls) == 50:
            raise LookupError("no call")
        return True

    with pytest.raises(LookupError, match="no call"):
        work(step, Concurrency(4), calls=100)
    assert next(calls) < 10_000
