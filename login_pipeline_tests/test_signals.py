import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from login_pipeline.signals import Interrupts, deferred_interrupts, raise_at_signals


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signal_whose_exception_was_lost_is_remembered(how: signal.Signals) -> None:
    before = signal.signal(how, lambda *_: None)
    try:
        with Interrupts() as interrupts:
            interrupts.raise_if_any()
            os.kill(os.getpid(), how)
            with pytest.raises(KeyboardInterrupt):
                interrupts.raise_if_any()
            interrupts.raise_if_any()
    finally:
        signal.signal(how, before)


def test_other_signal_is_no_interrupt() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGUSR1)
            interrupts.raise_if_any()
    finally:
        signal.signal(signal.SIGUSR1, before)


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


def test_process_that_handles_no_signal_is_ended_by_one_once_the_work_is_done() -> None:
    work = """
import signal
from login_pipeline.signals import deferred_interrupts
signal.signal(signal.SIGTERM, signal.SIG_DFL)
with deferred_interrupts():
    signal.raise_signal(signal.SIGTERM)
    print("work", flush=True)
print("after", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", work], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.stdout, done.returncode) == ("work\n", -signal.SIGTERM)


def test_signal_that_is_named_raises_also_where_it_was_ignored_and_blocked() -> None:
    before, blocked = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        raise_at_signals({signal.SIGHUP})
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, before)


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
