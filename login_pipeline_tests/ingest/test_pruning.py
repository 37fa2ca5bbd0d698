"""The inbox forgets what cannot come back, and nothing else."""

from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import dagster as dg
import pytest
from psycopg2 import errors

from login_pipeline.definitions import defs
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import Pruned, prune_inbox
from login_pipeline.postgres import copy as postgres_load
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]
DAY = 24 * 60 * 60 * 1000


@pytest.fixture
def resource(pipeline: Pipeline) -> LoginDatabase:
    pipeline.run()
    return LoginDatabase(read_settings())


def first_id(name: str) -> str:
    """A MessageId, the same for the same name."""
    return str(uuid5(NAMESPACE_OID, name))


def send_again(pipeline: Pipeline, text: str, name: str, *, sent: int) -> None:
    """As a redrive does: with the first id and the first time."""
    pipeline.queue.send(
        text,
        original_message_id={"DataType": "String", "StringValue": first_id(name)},
        original_sent_timestamp={"DataType": "Number", "StringValue": str(sent)},
    )


def age(pipeline: Pipeline, *, days: int) -> None:
    """Lets time pass for what is loaded."""
    pipeline.database.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - make_interval(days => %s)", days)


def keys(pipeline: Pipeline) -> list[Any]:
    return sorted(key for (key,) in pipeline.database.query("SELECT message_id FROM user_logins_inbox"))


def pruned(pipeline: Pipeline) -> list[Any]:
    """The dates that are closed, and how many messages of each were pruned."""
    closed = "SELECT create_date::text, rows FROM user_logins_ledger WHERE entry = 'pruned'"
    return pipeline.database.query(closed)


LONG_AGO = 1_767_225_600_000  # 2026-01-01


def test_old_keys_are_forgotten_and_the_rows_still_agree(
    pipeline: Pipeline, body: Body, resource: LoginDatabase
) -> None:
    for number in range(5):
        send_again(pipeline, body(), f"old {number}", sent=LONG_AGO)
    (new,) = pipeline.queue.send(body())
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 6
    age(pipeline, days=31)
    assert prune_inbox(resource, days=30) == Pruned(dates=1, keys=5, dead_letters=0)
    assert (keys(pipeline), pruned(pipeline)) == ([new], [("2026-01-01", 5)])
    assert pipeline.run("user_logins_checks_job").passed
    assert prune_inbox(resource, days=30) == Pruned(0, 0, 0)


def test_message_of_an_old_date_that_was_loaded_lately_is_remembered(
    pipeline: Pipeline, body: Body, resource: LoginDatabase
) -> None:
    send_again(pipeline, body(), "redriven", sent=LONG_AGO)
    pipeline.run()
    age(pipeline, days=29)
    assert prune_inbox(resource, days=30).keys == 0
    send_again(pipeline, body(), "redriven", sent=LONG_AGO)
    assert pipeline.run().metadata["user_logins_table"]["duplicates"] == 1


def test_message_of_a_forgotten_date_gets_no_row_and_goes_to_the_dead_letter_queue(
    pipeline: Pipeline, body: Body, resource: LoginDatabase
) -> None:
    send_again(pipeline, body(), "loaded", sent=LONG_AGO)
    pipeline.run()
    age(pipeline, days=31)
    prune_inbox(resource, days=30)
    send_again(pipeline, body(), "loaded", sent=LONG_AGO)
    send_again(pipeline, body(), "another day", sent=LONG_AGO + DAY)
    run = pipeline.run()
    assert run.failures == []
    assert run.metadata["user_logins_table"]["reasons"] == {"older_than_the_inbox": 1}
    assert run.metadata["user_logins_table"]["loaded"] == 1
    assert len(pipeline.database.logins()) == 2
    assert pipeline.queue.count() == 0


def test_pruning_that_was_killed_after_it_closed_a_date_goes_on(
    pipeline: Pipeline, body: Body, resource: LoginDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        send_again(pipeline, body(), f"old {number}", sent=LONG_AGO)
    pipeline.run()
    age(pipeline, days=31)
    transactions = iter([True, True, True])  # the tables, the dates, the entry

    def killed(self: LoginDatabase) -> Any:
        if not next(transactions, False):
            raise DatabaseError("killed")
        return real(self)

    real = LoginDatabase.transaction
    with monkeypatch.context() as death:
        death.setattr(LoginDatabase, "transaction", killed)
        with pytest.raises(DatabaseError):
            prune_inbox(resource, days=30)
    assert (len(keys(pipeline)), pruned(pipeline)) == (5, [("2026-01-01", 0)])
    assert pipeline.run("user_logins_checks_job").passed
    for number in range(5):
        send_again(pipeline, body(), f"old {number}", sent=LONG_AGO)
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 0
    assert prune_inbox(resource, days=30).keys == 5
    assert (keys(pipeline), pruned(pipeline)) == ([], [("2026-01-01", 5)])
    assert pipeline.run("user_logins_checks_job").passed
    assert len(pipeline.database.logins()) == 5


def test_keys_that_are_deleted_beside_a_load_give_no_second_row(
    pipeline: Pipeline, body: Body, resource: LoginDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_again(pipeline, body(), "loaded", sent=LONG_AGO)
    pipeline.run()
    day = {"create_date": "2026-01-01", "keys": 10}
    with resource.transaction() as cursor:
        cursor.execute(statements.prune.close_date, day)
    insert = postgres_load._insert_all

    def while_keys_are_deleted(*arguments: Any) -> Any:
        if not arguments[1][0].startswith("check "):  # which the run tries beforehand
            with LoginDatabase(read_settings()).transaction() as cursor:
                cursor.execute(statements.prune.prune, day)
        return insert(*arguments)

    monkeypatch.setattr(postgres_load, "_insert_all", while_keys_are_deleted)
    send_again(pipeline, body(), "loaded", sent=LONG_AGO)
    assert pipeline.run().metadata["user_logins_table"]["duplicates"] == 1
    assert (keys(pipeline), pruned(pipeline)) == ([], [("2026-01-01", 1)])
    assert len(pipeline.database.logins()) == 1


def test_date_is_closed_when_the_loads_under_way_have_ended(
    pipeline: Pipeline, body: Body, resource: LoginDatabase
) -> None:
    with resource.transaction() as load, LoginDatabase(read_settings()).transaction() as closing:
        load.execute(statements.load.stage)
        with pytest.raises(errors.LockNotAvailable):
            closing.execute(statements.prune.lock)
        closing.connection.rollback()


def test_records_of_dead_letters_are_forgotten_too(pipeline: Pipeline, resource: LoginDatabase) -> None:
    pipeline.queue.send("not a login", "nor this")
    pipeline.run()
    pipeline.database.query("UPDATE user_logins_dead_letters SET sent_at = sent_at - interval '31 days'")
    assert prune_inbox(resource, days=30).dead_letters == 2


def test_job_prunes_and_says_how_much(pipeline: Pipeline, body: Body, resource: LoginDatabase) -> None:
    send_again(pipeline, body(), "old", sent=LONG_AGO)
    pipeline.run()
    age(pipeline, days=31)
    result = defs.resolve_job_def("inbox_pruning_job").execute_in_process(instance=pipeline.instance)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    assert output.step_output_data.metadata["keys"] == dg.IntMetadataValue(1)


def test_restore_that_opens_a_date_in_the_middle_of_its_pruning_costs_no_key(
    pipeline: Pipeline, body: Body, resource: LoginDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        send_again(pipeline, body(), f"old {number}", sent=LONG_AGO)
    pipeline.run()
    age(pipeline, days=31)
    transactions = iter(range(99))

    def restored(self: LoginDatabase) -> Any:
        if next(transactions) == 3:  # the tables, the dates, the entry
            pipeline.database.query("DELETE FROM user_logins_ledger")
            for number in range(5):
                key = (first_id(f"old {number}"), "2026-01-01")
                pipeline.database.query("INSERT INTO user_logins_inbox VALUES (%s, %s) ON CONFLICT DO NOTHING", *key)
        return real(self)

    real = LoginDatabase.transaction
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(LoginDatabase, "transaction", restored)
        prune_inbox(resource, days=30)
    assert len(keys(pipeline)) == 5
    assert pipeline.run("user_logins_checks_job").passed
