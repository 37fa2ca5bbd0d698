"""The inbox forgets what cannot come back, and nothing else."""

from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
import pytest
from psycopg2 import errors

from login_pipeline.definitions import defs
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import Pruned, prune_inbox
from login_pipeline.postgres import copy as postgres_load
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline_tests.backup.fixtures import MONDAY, TUESDAY, Kept
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]
FIRST_ID = "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"
OLD = [f"old {number}" for number in range(5)]


def load(inbox: Kept, *message_ids: str, day: date = MONDAY) -> Loaded:
    rows = [("user", "ios", "mask", "mask", None, 1, day, message_id) for message_id in message_ids]
    return inbox.resource.load(rows, seconds=30)


def age(inbox: Kept, *, days: int) -> None:
    """Lets time pass for what is loaded."""
    inbox.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - make_interval(days => %s)", days)


@pytest.fixture
def inbox(empty: Kept) -> Kept:
    """Five messages of MONDAY, loaded 31 days ago."""
    load(empty, *OLD)
    age(empty, days=31)
    return empty


def keys(inbox: Kept) -> list[str]:
    return [str(key) for (key,) in inbox.query("SELECT message_id FROM user_logins_inbox ORDER BY 1")]


def test_old_keys_are_forgotten_and_the_rows_still_agree(inbox: Kept) -> None:
    load(inbox, "new", day=TUESDAY)
    assert prune_inbox(inbox.resource, days=30) == Pruned(dates=1, keys=5, dead_letters=0)
    assert (keys(inbox), inbox.ledger()) == (["new"], {MONDAY: {"pruned": 5}})
    assert inbox.agrees()
    assert prune_inbox(inbox.resource, days=30) == Pruned(0, 0, 0)


def test_message_of_an_old_date_that_was_loaded_lately_is_remembered(empty: Kept) -> None:
    load(empty, "redriven")
    age(empty, days=29)
    assert prune_inbox(empty.resource, days=30).keys == 0
    assert load(empty, "redriven").duplicates == 1


def test_message_of_a_forgotten_date_gets_no_row_and_goes_to_the_dead_letter_queue(
    pipeline: Pipeline, body: Body, inbox: Kept
) -> None:
    prune_inbox(inbox.resource, days=30)
    figures = []
    for sent in ("1767571200000", "1767657600000"):  # on MONDAY and on TUESDAY
        pipeline.queue.send(
            body(),
            original_message_id={"DataType": "String", "StringValue": FIRST_ID},
            original_sent_timestamp={"DataType": "Number", "StringValue": sent},
        )
        figures.append(pipeline.run().metadata["user_logins_table"])
    assert [each["reasons"] for each in figures] == [{"older_than_the_inbox": 1}, {}]
    assert [each["loaded"] for each in figures] == [0, 1]
    assert len(inbox.rows()) == 6
    assert pipeline.queue.count() == 0
    (letter,) = pipeline.dead_letter_queue.take_all()
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "older_than_the_inbox"


def test_pruning_that_was_killed_after_it_closed_a_date_goes_on(inbox: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    transactions = iter([True] * 4)  # the tables, the rights, the dates, the entry

    def killed(self: LoginDatabase) -> Any:
        if not next(transactions, False):
            raise DatabaseError("killed")
        return real(self)

    real = LoginDatabase.transaction
    with monkeypatch.context() as death:
        death.setattr(LoginDatabase, "transaction", killed)
        with pytest.raises(DatabaseError):
            prune_inbox(inbox.resource, days=30)
    assert (keys(inbox), inbox.ledger()) == (OLD, {MONDAY: {"pruned": 0}})
    assert inbox.agrees()
    assert load(inbox, *OLD).rows == 0
    assert prune_inbox(inbox.resource, days=30).keys == 5
    assert (keys(inbox), inbox.ledger()) == ([], {MONDAY: {"pruned": 5}})
    assert inbox.agrees()
    assert len(inbox.rows()) == 5


def test_keys_that_are_deleted_beside_a_load_give_no_second_row(inbox: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    day = {"create_date": MONDAY}
    with inbox.resource.transaction() as cursor:
        cursor.execute(statements.prune.close_date, day)
    insert = postgres_load._insert_all

    def while_keys_are_deleted(*arguments: Any) -> Any:
        with inbox.resource.transaction() as cursor:
            cursor.execute(statements.prune.prune, day)
        return insert(*arguments)

    monkeypatch.setattr(postgres_load, "_insert_all", while_keys_are_deleted)
    assert load(inbox, *OLD) == Loaded(0, 5, {})
    assert (keys(inbox), inbox.ledger()) == ([], {MONDAY: {"pruned": 5}})
    assert len(inbox.rows()) == 5


def test_date_is_closed_when_the_loads_under_way_have_ended(empty: Kept) -> None:
    with empty.resource.transaction() as loading, empty.resource.transaction() as closing:
        loading.execute(statements.load.stage)
        with pytest.raises(errors.LockNotAvailable):
            closing.execute(statements.prune.lock)
        closing.connection.rollback()


def test_job_prunes_records_of_dead_letters_too_and_says_how_much(inbox: Kept) -> None:
    letters = {f"sent {number}": Letter(f"message {number}", "not_json") for number in range(2)}
    with inbox.resource.record_dead_letters(letters) as record:
        record.commit(not_sent=())
    inbox.query("UPDATE user_logins_dead_letters SET sent_at = sent_at - interval '31 days'")
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("inbox_pruning_job").execute_in_process(instance=instance)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    pruned = {name: dg.IntMetadataValue(count) for name, count in Pruned(1, 5, 2)._asdict().items()}
    assert output.step_output_data.metadata == pruned


def test_restore_that_opens_a_date_in_the_middle_of_its_pruning_costs_no_key(
    inbox: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions = iter(range(99))

    def restored(self: LoginDatabase) -> Any:
        if next(transactions) == 4:  # the tables, the rights, the dates, the entry
            inbox.query("DELETE FROM user_logins_ledger")
        return real(self)

    real = LoginDatabase.transaction
    with monkeypatch.context() as during:
        during.setattr(LoginDatabase, "transaction", restored)
        prune_inbox(inbox.resource, days=30)
    assert keys(inbox) == OLD
    assert inbox.agrees()
