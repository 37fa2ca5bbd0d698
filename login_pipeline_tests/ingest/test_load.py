"""A batch is loaded some rows at a time: how many, and what is left when the time is up."""

from collections.abc import Callable

import pytest

from login_pipeline.ingest.load import FIRST_ROWS, MAX_ROWS, next_size
from login_pipeline.sqs.login_queues import release_delay
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.mark.parametrize(
    ("size", "seconds", "seconds_left", "following"),
    [
        (10, 0.01, 700, 100),  # ten times as many at most
        (1000, 0.1, 700, MAX_ROWS),
        (10, 10, 20, 5),  # a row a second: a quarter of the time that is left
        (10, 100, 8, 1),
        (5000, 0.0, 700, MAX_ROWS),
    ],
)
def test_next_transaction_takes_a_part_of_the_time_that_is_left(
    size: int, seconds: float, seconds_left: float, following: int
) -> None:
    assert next_size(size, seconds, seconds_left) == following


def test_load_that_is_too_slow_for_its_batch_gets_somewhere(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.login_queues.LOAD_DEADLINE_FRACTION", 0.2)
    monkeypatch.setattr("login_pipeline.sqs.login_queues.RELEASE_DELAY", 0)
    pipeline.set(LOGIN_VISIBILITY_TIMEOUT=40)
    pipeline.run()
    pipeline.database.query(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    pipeline.queue.send(*(body(user_id=f"user {number}") for number in range(60)))
    run = pipeline.run()
    assert run.failures
    figures = run.metadata["user_logins_table"]
    assert FIRST_ROWS < figures["loaded"] < 60
    assert figures["deleted"] == figures["loaded"] == len(pipeline.database.logins())
    assert pipeline.queue.count() == 60 - figures["loaded"]

    pipeline.database.query("DROP TRIGGER slow ON user_logins")
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 60


@pytest.mark.parametrize(("default", "used"), [("off", "on"), ("local", "local")])
def test_commit_is_on_disk_before_its_messages_are_deleted(
    pipeline: Pipeline, body: Body, default: str, used: str
) -> None:
    pipeline.run()
    pipeline.database.query(
        "CREATE TABLE seen (setting text); "
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$; "
        "CREATE TRIGGER see BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION see()"
    )
    of_database = "BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = ', current_database()) || '{}'; END"
    pipeline.database.query("DO %s", of_database.format(default))
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert pipeline.database.query("SELECT setting FROM seen") == [(used,)]


def test_message_that_is_handed_back_again_and_again_waits_longer_and_longer() -> None:
    assert [release_delay(count) for count in (1, 2, 3, 4, 7, 8, 1000)] == [10, 20, 40, 80, 640, 900, 900]


def test_handed_back_message_comes_again_by_how_often_it_came(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "login_pipeline.sqs.login_queues.release_delay", lambda receive_count: 600 * (receive_count - 1)
    )
    monkeypatch.setattr("login_pipeline.defs.assets.mask_logins", None)
    pipeline.queue.send(body())
    pipeline.run()
    assert pipeline.queue.depth() == (1, 0)
    pipeline.run()
    assert pipeline.queue.depth() == (0, 1)


def test_twin_that_the_batch_left_out_comes_again_soon_however_often_it_came(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.sqs.login_queues.release_delay", lambda receive_count: receive_count - 1)
    twin = {
        "original_message_id": {"DataType": "String", "StringValue": "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"},
        "original_sent_timestamp": {"DataType": "Number", "StringValue": "1767225599999"},
    }
    pipeline.queue.send(body(), body(), **twin)
    with monkeypatch.context() as broken:
        broken.setattr("login_pipeline.sqs.login_queues.release_delay", lambda _receive_count: 0)
        broken.setattr("login_pipeline.defs.assets.mask_logins", None)
        pipeline.run()
    assert pipeline.run().failures == []
    assert pipeline.queue.depth() == (1, 0)
