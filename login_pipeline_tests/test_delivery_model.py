"""Exactly once, under all that SQS, the database, crashes and an operator may do: a model, played at random.

LOGIN_TEST_EXAMPLES is how many histories are played. A failure prints the shortest history that was found and a line
with `reproduce_failure`: above `class Machine` below it plays that history again.
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, reproduce_failure, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from login_pipeline.resources.masking import MaskingResource
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.sqs import LoginQueueResource, Moved
from login_pipeline.resources.sqs_batches import Entry
from login_pipeline.resources.sqs_messages import Message
from login_pipeline.resources.sqs_receive import Batch
from login_pipeline.sql import statements
from login_pipeline_tests.conftest import MASKING_KEY, Database
from login_pipeline_tests.delivery_machine import VISIBILITY_TIMEOUT, DeliveryMachine, Table
from login_pipeline_tests.simulated_sqs import DEAD_LETTER_QUEUE, QUEUE, SimulatedSqs

SETTINGS = settings(
    max_examples=int(os.environ.get("LOGIN_TEST_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
MUTANT_SETTINGS = settings(SETTINGS, max_examples=200, phases=[Phase.generate], database=None)


@pytest.fixture
def machine(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[DeliveryMachine]]:
    """Machines on one database, each with an empty table and queues of its own."""
    monkeypatch.setenv("LOGIN_QUEUE_URL", QUEUE)
    monkeypatch.setenv("LOGIN_DEAD_LETTER_QUEUE_URL", DEAD_LETTER_QUEUE)
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    monkeypatch.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
    monkeypatch.setenv("LOGIN_VISIBILITY_TIMEOUT", str(VISIBILITY_TIMEOUT))
    monkeypatch.setenv("LOGIN_RECEIVE_DEADLINE", "40")
    monkeypatch.setenv("LOGIN_BATCH_SIZE", "4")
    LoginDatabaseResource().prepare()
    table = Table(database.url)
    masks = MaskingResource().masks()

    class Machine(DeliveryMachine):
        def __init__(self) -> None:
            super().__init__(SimulatedSqs(), table, masks)
            clock = SimpleNamespace(monotonic=lambda: self.sqs.now)
            monkeypatch.setattr("login_pipeline.resources.sqs.time", clock)

    yield Machine
    table.close()


@pytest.mark.timeout(0)  # as long as LOGIN_TEST_EXAMPLES and the shrinking of a failure take
def test_every_message_ends_in_exactly_one_place(machine: type[DeliveryMachine]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


class Mutant(NamedTuple):
    """A product that breaks one promise: what replaces what, and what the model says of it."""

    target: str
    replacement: object
    finding: str


def _delete_what_was_received(self: LoginQueueResource) -> Batch:
    batch = RECEIVE(self)
    self.delete(message.receipt_handle for message in batch.messages)
    return batch


def _delete_before_sending(self: LoginQueueResource, letters: Sequence[Entry], handles: Sequence[str]) -> Moved:
    self.delete(handles)
    return QUARANTINE(self, letters, handles)


def _delete_what_was_not_sent(self: LoginQueueResource, letters: Sequence[Entry], handles: Sequence[str]) -> Moved:
    moved = QUARANTINE(self, letters, handles)
    self.delete(handles)
    return moved


def _statements_without_inbox(file: str) -> dict[str, str]:
    without = (
        "INSERT INTO user_logins"
        " SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date"
        " FROM incoming_logins"
    )
    return {**statements(file), "load": without} if file == "load" else statements(file)


def _today(_sent_timestamp: int) -> date:
    return datetime.now(UTC).date()


def _forget_the_first_sending(cls: type[Message], message: dict[str, Any]) -> Message:
    return FROM_SQS({**message, "MessageAttributes": {}})


RECEIVE, QUARANTINE, FROM_SQS = LoginQueueResource.receive, LoginQueueResource.quarantine, Message.from_sqs
QUEUE_RESOURCE = "login_pipeline.resources.sqs.LoginQueueResource"
MUTANTS = {
    "deletes before the commit": Mutant(f"{QUEUE_RESOURCE}.receive", _delete_what_was_received, "lost"),
    "deletes before the dead letter is sent": Mutant(f"{QUEUE_RESOURCE}.quarantine", _delete_before_sending, "lost"),
    "deletes what is not sent": Mutant(f"{QUEUE_RESOURCE}.quarantine", _delete_what_was_not_sent, "lost"),
    "has no inbox": Mutant("login_pipeline.resources.postgres.statements", _statements_without_inbox, "other rows"),
    "knows a copy by its own id": Mutant(
        "login_pipeline.resources.sqs.Message.from_sqs", classmethod(_forget_the_first_sending), "never sent"
    ),
    "dates a row by its run": Mutant("login_pipeline.login_batch.create_date", _today, "other rows"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_product_that_breaks_a_promise_is_found_out(
    machine: type[DeliveryMachine], monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    play_mutant(machine, monkeypatch, mutant)


def test_failure_is_played_again_from_the_line_that_it_prints(
    machine: type[DeliveryMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = play_mutant(machine, monkeypatch, "has no inbox")
    printed = re.search(r"@reproduce_failure\('(.+)', b'(.+)'\)", "\n".join(failure.__notes__))
    assert printed is not None
    again = reproduce_failure(printed[1], printed[2].encode())(machine)
    with pytest.raises(AssertionError, match=MUTANTS["has no inbox"].finding):
        run_state_machine_as_test(again, settings=MUTANT_SETTINGS)


def play_mutant(machine: type[DeliveryMachine], monkeypatch: pytest.MonkeyPatch, mutant: str) -> AssertionError:
    target, replacement, finding = MUTANTS[mutant]
    monkeypatch.setattr(target, replacement)
    with pytest.raises(AssertionError, match=finding) as failure:
        run_state_machine_as_test(seed(1)(machine), settings=MUTANT_SETTINGS)
    return failure.value
