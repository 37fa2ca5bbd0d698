"""SIGTERM to a real `login-pipeline drain`, in every state, once and twice: what it held is back at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, wait_for
from login_pipeline_tests.faults.sqs_faults import ACCESS_DENIED, Hold, after_seconds
from login_pipeline_tests.faults.sqs_proxy import SqsProxy

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))
GRACE = 25
"""Seconds to end in: less than the 30 that Kubernetes gives a pod before it kills it."""

Drain = subprocess.Popen[str]
State = Callable[[Account, SqsProxy, Drain], AbstractContextManager[None]]


@contextmanager
def drain() -> Iterator[Drain]:
    process = subprocess.Popen([COMMAND, "drain"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def held(action: str, *, after: bool = False) -> State:
    """The state in which a call of the action is under way; it is answered once the signals were sent."""

    @contextmanager
    def state(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
        hold = Hold(after=after)
        sqs_proxy.on(action, hold)
        hold.wait()
        yield
        time.sleep(0.5)
        hold.let_go()

    return state


@contextmanager
def receiving_under_load(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
    sqs_proxy.on("ReceiveMessage", after_seconds(0.3))
    while not sqs_proxy.calls["ReceiveMessage"]:
        time.sleep(0.01)
    yield


@contextmanager
def just_received(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
    """The batch is full: what follows is masking."""
    hold = Hold(after=True)
    sqs_proxy.on("ReceiveMessage", hold)
    hold.wait()
    hold.let_go()
    yield


@contextmanager
def waiting_for_a_lock(account: Account, sqs_proxy: SqsProxy, process: Drain) -> Iterator[None]:
    """The table stays locked until the drain has ended, so that nothing but the signal can end it."""
    hold = Hold(after=True)
    sqs_proxy.on("ReceiveMessage", hold)
    hold.wait()
    with locked(account.pipeline.database):
        hold.let_go()
        wait_for(account.pipeline.database, WAITING_LOADS)
        yield
        process.wait(GRACE)


STATES: dict[str, State] = {
    "checking the surroundings": held("GetQueueAttributes"),
    "long poll waiting": held("ReceiveMessage"),
    "messages on their way": held("ReceiveMessage", after=True),
    "receiving under load": receiving_under_load,
    "masking": just_received,
    "loading, behind a lock": waiting_for_a_lock,
    "moving to the dead-letter queue": held("SendMessageBatch"),
    "deleting": held("DeleteMessageBatch"),
}


ONCE = [pytest.param(state, 1, id=f"{name}-once") for name, state in STATES.items()]
TWICE = [
    pytest.param(STATES[name], 2, id=f"{name}-twice")
    for name in ("checking the surroundings", "messages on their way", "moving to the dead-letter queue", "deleting")
]


@pytest.mark.parametrize(("state", "signals"), [*ONCE, *TWICE])
def test_interrupted_drain_leaves_nothing_to_its_visibility_timeout(
    account: Account, sqs_proxy: SqsProxy, state: State, signals: int
) -> None:
    account.send(25, malformed=3)
    with drain() as process:
        with state(account, sqs_proxy, process):
            for _ in range(signals):
                os.kill(process.pid, signal.SIGTERM)
                time.sleep(0.2)
        _, err = process.communicate(timeout=GRACE)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1:] == ["Interrupted; what was in hand is back on the queue."]
    account.assert_nothing_is_lost()
    sqs_proxy.heal()
    account.drain()
    account.assert_settled()


def test_second_signal_does_not_cut_the_hand_back_short(account: Account, sqs_proxy: SqsProxy) -> None:
    """More calls than threads, so that some are not under way yet when the signal comes."""
    account.send(200)
    deleting, handing_back = Hold(), Hold()
    sqs_proxy.on("DeleteMessageBatch", ACCESS_DENIED)
    sqs_proxy.on("DeleteMessageBatch", deleting)
    sqs_proxy.on("ChangeMessageVisibilityBatch", handing_back)
    with drain() as process:
        deleting.wait()
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.2)
        deleting.let_go()
        handing_back.wait(LoginQueueResource().threads)
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.2)
        handing_back.let_go()
        _, err = process.communicate(timeout=GRACE)
    assert process.returncode == 130, err
    account.assert_nothing_is_lost()
    sqs_proxy.heal()
    account.drain()
    account.assert_settled()
