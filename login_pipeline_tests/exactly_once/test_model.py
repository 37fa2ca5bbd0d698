"""Exactly once, under all that SQS, the database, crashes and an operator may do: a model, played at random.

LOGIN_TEST_EXAMPLES is how many histories are played. A failure prints the shortest history that was found and a line
with `reproduce_failure`: above `class Machine` below it plays that history again.
"""

import os
import re
from collections.abc import Iterator
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, reproduce_failure, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from login_pipeline.masking.masker import Masker
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline_tests.conftest import MASKING_KEY, Database
from login_pipeline_tests.exactly_once.machine import VISIBILITY_TIMEOUT, DeliveryMachine
from login_pipeline_tests.exactly_once.mutants import MUTANTS
from login_pipeline_tests.exactly_once.simulated_sqs import DEAD_LETTER_QUEUE, QUEUE, SimulatedSqs
from login_pipeline_tests.exactly_once.stepped_run import DeletesInTurn, stepped_run
from login_pipeline_tests.exactly_once.table import Table
from login_pipeline_tests.exactly_once.watch import RunWatch

SETTINGS = settings(
    max_examples=int(os.environ.get("LOGIN_TEST_EXAMPLES", "40")),
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
MUTANT_SETTINGS = settings(SETTINGS, max_examples=3, phases=[Phase.generate], database=None)
MUTANT_SEEDS = 100
# So that a few messages are several loads, many refused rows, and several receipts of a redrive.
SMALL_NUMBERS = {
    "login_pipeline.ingest.load.FIRST_ROWS": 2,
    "login_pipeline.ingest.quarantine.MAX_CREDIBLE_REFUSALS": 1,
    "login_pipeline.postgres.copy.MAX_CREDIBLE_REFUSALS": 1,
    "login_pipeline.ingest.quarantine.MAX_LETTERS": 2,
    "login_pipeline.ingest.redrive.AT_ONCE": 3,
}

# Where the time decides how many messages are received and loaded: it is the simulated one.
CLOCKS = ["ingest.load", "sqs.login_queues", "sqs.receive"]


@pytest.fixture
def machine(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[DeliveryMachine]]:
    """Machines on one database, each with an empty table and queues of its own."""
    monkeypatch.setenv("LOGIN_QUEUE_URL", QUEUE)
    monkeypatch.setenv("LOGIN_DEAD_LETTER_QUEUE_URL", DEAD_LETTER_QUEUE)
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    monkeypatch.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
    monkeypatch.setenv("LOGIN_VISIBILITY_TIMEOUT", str(VISIBILITY_TIMEOUT))
    monkeypatch.setenv("LOGIN_BATCH_SIZE", "6")
    for name, number in SMALL_NUMBERS.items():
        monkeypatch.setattr(name, number)
    monkeypatch.setattr("login_pipeline.ingest.load.ThreadPoolExecutor", DeletesInTurn)
    table = Table(database.url)
    masks = Masker(read_settings()).masks()

    class Machine(DeliveryMachine):
        def __init__(self) -> None:
            super().__init__(SimulatedSqs(), table, masks)
            clock = SimpleNamespace(monotonic=lambda: self.sqs.now)
            for module in CLOCKS:
                monkeypatch.setattr(f"login_pipeline.{module}.time", clock)
            monkeypatch.setattr("login_pipeline.logins.transform.parse_login", self.parse)

    yield Machine
    table.close()


@pytest.mark.timeout(0)  # as long as LOGIN_TEST_EXAMPLES and the shrinking of a failure take
def test_every_message_ends_in_exactly_one_place(machine: type[DeliveryMachine]) -> None:
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_nothing_of_a_process_goes_on_while_it_waits_for_its_next_step(
    machine: type[DeliveryMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else threads would decide what the model sees, and no history could be played again."""
    load, delete = LoginDatabase.load, SqsQueue.delete

    def commit_and_take_long(*arguments: Any, **named: Any) -> Loaded:
        loaded = load(*arguments, **named)
        sleep(0.1)
        return loaded

    def delete_later(*arguments: Any) -> dict[str, int]:
        sleep(0.05)
        return delete(*arguments)

    monkeypatch.setattr(LoginDatabase, "load", commit_and_take_long)
    monkeypatch.setattr(SqsQueue, "delete", delete_later)
    history: DeliveryMachine = machine()  # type: ignore[call-arg]  # the fixture's class makes its own
    for late in (False, True):
        history.send(["user"] * 5)
        watch = RunWatch(history.sqs, history.ledger)
        run = stepped_run(history.sqs, watch, quarantine_first=True, deletes_late=late)
        while run.next_step is not None:
            run.step()
            history.every_promise_is_kept()
    assert len(history.ledger.rows) == 10
    history.teardown()


@pytest.mark.timeout(0)  # where the seeds of exactly_once/mutants.py are no quick ones now
@pytest.mark.parametrize("mutant", MUTANTS)
def test_product_that_breaks_a_promise_is_found_out_in_a_history_that_can_be_played_again(
    machine: type[DeliveryMachine], monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    target, replacement, finding, first_seed = MUTANTS[mutant]
    monkeypatch.setattr(target, replacement)
    failure = found_out(machine, finding, first_seed)
    printed = re.search(r"@reproduce_failure\('(.+)', b'(.+)'\)", "\n".join(failure.__notes__))
    assert printed is not None
    again = reproduce_failure(printed[1], printed[2].encode())(machine)
    with pytest.raises(AssertionError, match=finding):
        run_state_machine_as_test(again, settings=MUTANT_SETTINGS)


def found_out(machine: type[DeliveryMachine], finding: str, first_seed: int) -> AssertionError:
    for number in range(first_seed, first_seed + MUTANT_SEEDS):
        try:
            run_state_machine_as_test(seed(number)(machine), settings=MUTANT_SETTINGS)
        except AssertionError as failure:
            if re.search(finding, str(failure)):
                return failure
            raise
    raise AssertionError("not found out")
