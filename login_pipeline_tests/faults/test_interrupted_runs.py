"""SIGTERM to a real `login-pipeline drain`, in every state, once and twice: what it held is back at once."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from login_pipeline.sqs.worker_pool import CALLS_PER_STEP
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.drain_process import Drain, drain
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, wait_for
from login_pipeline_tests.faults.sqs_faults import ACCESS_DENIED, Hold, after_seconds
from login_pipeline_tests.faults.sqs_proxy import SqsProxy

# Returns from its beginning when the drain is in the state, and keeps it there until its end.
State = Callable[[Account, SqsProxy, Drain], AbstractContextManager[None]]


@contextmanager
def held(
    account: Account, sqs_proxy: SqsProxy, _process: Drain, *, action: str, after: bool = False, calls: int = 1
) -> Iterator[None]:
    """Calls of the action are under way, or with `after` their answers; they arrive once the signals were sent."""
    hold = Hold(after=after)
    with sqs_proxy.breaking(action, hold):
        try:
            hold.wait(calls)
            yield
        finally:
            hold.let_go()


@contextmanager
def receiving_under_load(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
    """Some calls have been answered, and others have not."""
    before = sqs_proxy.calls["ReceiveMessage"]
    with sqs_proxy.breaking("ReceiveMessage", after_seconds(0.3)):
        while sqs_proxy.calls["ReceiveMessage"] < before + 2:
            time.sleep(0.01)
        yield


@contextmanager
def just_received(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
    """The batch is full: what follows is masking."""
    hold = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", hold):
        hold.wait()
        hold.let_go()
        yield


@contextmanager
def waiting_for_a_lock(account: Account, sqs_proxy: SqsProxy, process: Drain, *, mode: str) -> Iterator[None]:
    """The table stays locked until the drain has ended, so that nothing but the signal can end it."""
    hold = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", hold):
        hold.wait()
        with locked(account.pipeline.database, mode=mode):
            hold.let_go()
            wait_for(account.pipeline.database, WAITING_LOADS)
            yield
            process.wait()


@contextmanager
def handing_back(account: Account, sqs_proxy: SqsProxy, process: Drain) -> Iterator[None]:
    """More calls than are made at once, so that some are not under way yet when the signals come."""
    with (
        sqs_proxy.breaking("DeleteMessageBatch", ACCESS_DENIED),
        held(account, sqs_proxy, process, action="ChangeMessageVisibilityBatch", calls=CALLS_PER_STEP),
    ):
        yield


@contextmanager
def between_two_runs(_account: Account, sqs_proxy: SqsProxy, _process: Drain) -> Iterator[None]:
    """The first run has ended, and the drain asks how many messages are left."""
    receiving, asking = Hold(after=True), Hold()
    with sqs_proxy.breaking("ReceiveMessage", receiving):
        receiving.wait()
        with sqs_proxy.breaking("GetQueueAttributes", asking):
            try:
                receiving.let_go()
                asking.wait()
                yield
            finally:
                asking.let_go()


STATES: dict[str, State] = {
    "checking the surroundings": partial(held, action="GetQueueAttributes"),
    "long poll waiting": partial(held, action="ReceiveMessage"),
    "messages on their way": partial(held, action="ReceiveMessage", after=True),
    "receiving under load": receiving_under_load,
    "masking": just_received,
    "staging, behind a lock": partial(waiting_for_a_lock, mode="ACCESS EXCLUSIVE"),
    "inserting, behind a lock": partial(waiting_for_a_lock, mode="EXCLUSIVE"),
    "moving to the dead-letter queue": partial(held, action="SendMessageBatch"),
    "deleting": partial(held, action="DeleteMessageBatch"),
    "handing back": handing_back,
    "between two runs": between_two_runs,
}

# Logins and malformed messages; elsewhere there are more than one call delivers, and no malformed ones.
MESSAGES = {
    "handing back": (10 * CALLS_PER_STEP + 10, 0),
    "masking": (10, 0),
    "moving to the dead-letter queue": (5, 3),
}


@pytest.mark.parametrize("state", STATES)
def test_interrupted_drain_leaves_nothing_to_its_visibility_timeout(
    account: Account, sqs_proxy: SqsProxy, tmp_path: Path, state: str
) -> None:
    """First with one signal, then with two to a drain that was started in the background."""
    logins, malformed = MESSAGES.get(state, (25, 0))
    account.send(logins)
    for signals in (1, 2):
        account.send(0, malformed)
        with drain(tmp_path, in_background=signals == 2) as process:
            with STATES[state](account, sqs_proxy, process):
                for _ in range(signals):
                    process.signal(signal.SIGTERM)
                    time.sleep(0.2)
            process.wait()
        assert (process.exit_code, process.last_line) == (130, "Interrupted; what the run held is back on the queue.")
        account.assert_nothing_is_lost()
    account.drain()
    account.assert_settled()
