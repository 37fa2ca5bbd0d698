import os
import signal

import pytest

from login_pipeline.interrupts import Interrupts


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
