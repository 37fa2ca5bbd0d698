import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from login_pipeline.signals import call_at_signals, deferred_interrupts


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signal_whose_exception_is_lost_calls_back_in_each_block_that_it_comes_in(how: signal.Signals) -> None:
    before = signal.signal(how, lambda *_: None)
    outer, inner = threading.Event(), threading.Event()
    try:
        with call_at_signals(outer.set), call_at_signals(inner.set):
            os.kill(os.getpid(), how)
            assert outer.wait(5)
            assert inner.wait(5)
    finally:
        signal.signal(how, before)


def test_other_signal_calls_nothing_back() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    came = threading.Event()
    try:
        with call_at_signals(came.set):
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not came.is_set()


def test_signal_waits_until_the_work_is_done() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _work_through_two_signals(done)
    assert done == ["work"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _work_through_two_signals(done: list[str]) -> None:
    with deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("work")
    done.append("after")


def test_signal_is_not_lost_where_the_work_fails() -> None:
    with pytest.raises(KeyboardInterrupt):
        _fail_at_a_signal()


def _fail_at_a_signal() -> None:
    with deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        raise LookupError


def test_second_signal_asks_for_no_second_stop() -> None:
    """It can come in the middle of the first one's, which may hold a lock that it would wait for."""
    hurries = 0

    def stop() -> None:
        nonlocal hurries
        hurries += 1
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with deferred_interrupts(stop):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert hurries == 1


def test_work_in_another_thread_gets_no_signals_anyway() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_defer).result()


def _defer() -> bool:
    with deferred_interrupts():
        return True
