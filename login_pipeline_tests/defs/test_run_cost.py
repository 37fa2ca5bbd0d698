"""What a run does once, however many messages it has; and the connection on which it does all it asks of PostgreSQL."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import boto3
import dagster as dg
import psycopg2
import pytest

from login_pipeline.defs.resources import LoginDatabaseResource
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.load import FIRST_ROWS
from login_pipeline.masking import masker as masking
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline_tests.conftest import Database, Pipeline

Body = Callable[..., str]
BACKENDS = "FROM pg_stat_activity WHERE application_name = 'login-pipeline' AND datname = current_database()"


@pytest.fixture
def resource(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginDatabase]:
    """As a run has it."""
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    with dg.build_resources({"login_postgres": LoginDatabaseResource()}) as resources:
        resources.login_postgres.database.prepare()
        yield resources.login_postgres.database


def calls(monkeypatch: pytest.MonkeyPatch, function: str, of: object) -> list[str]:
    """Grows with each call of the function, which is still called."""
    seen: list[str] = []
    called = getattr(of, function)

    def counted(*arguments: object, **named: object) -> object:
        seen.append(function)
        return called(*arguments, **named)

    monkeypatch.setattr(of, function, counted)
    return seen


def row(message_id: str) -> tuple[object, ...]:
    return ("user", "ios", "mask", "mask", None, 2, date(2026, 1, 1), message_id)


@pytest.mark.parametrize("messages", [0, 3 * FIRST_ROWS])
def test_run_connects_once_makes_one_client_and_reads_its_keys_once(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, messages: int
) -> None:
    pipeline.queue.send(body())
    pipeline.run()  # creates the tables, tries the database, and imports what is imported late
    pipeline.queue.send(*(body() for _ in range(messages)), *["not a login"] * (messages > 1))
    connections = calls(monkeypatch, "connect", psycopg2)
    clients = calls(monkeypatch, "client", boto3.Session)
    keys = calls(monkeypatch, "masking_keys", masking)
    run = pipeline.run()
    assert run.passed
    assert run.metadata["user_logins_table"]["loaded"] == messages
    assert (len(connections), len(clients), len(keys)) == (1, 1, 1)


def test_next_run_of_a_process_reads_the_keys_again(pipeline: Pipeline, body: Body) -> None:
    for _ in range(2):
        pipeline.set(LOGIN_MASKING_KEY=secrets.token_hex(32))
        pipeline.queue.send(body())
        pipeline.run()
    one, other = pipeline.database.query("SELECT split_part(masked_ip, '.', 1) FROM user_logins")
    assert one != other


@pytest.mark.direct_database("PgBouncer keeps the sessions, and ends them when it likes")
def test_connection_that_the_server_ended_between_two_calls_costs_nothing(
    resource: LoginDatabase, database: Database
) -> None:
    for message_id in ("a", "b"):
        assert database.query(f"SELECT pg_terminate_backend(pid, 5000) {BACKENDS}") == [(True,)]
        with resource.record_dead_letters({message_id: Letter(message_id, "not_json")}) as record:
            assert record.new == {message_id}
            record.commit(not_sent=())
    assert database.query("SELECT sqs_message_id FROM user_logins_dead_letters ORDER BY 1") == [("a",), ("b",)]


@pytest.mark.direct_database("PgBouncer keeps the sessions, and ends them when it likes")
def test_connection_on_which_a_statement_failed_is_not_used_again(resource: LoginDatabase, database: Database) -> None:
    before = database.query(f"SELECT pid {BACKENDS}")
    database.query("ALTER TABLE user_logins RENAME TO elsewhere")
    with pytest.raises(DatabaseError):
        resource.load([row("a")], seconds=5)
    database.query("ALTER TABLE elsewhere RENAME TO user_logins")
    assert resource.load([row("a")], seconds=5).rows == 1
    assert len(before) == 1
    assert database.query(f"SELECT pid {BACKENDS}") != before


def test_two_threads_of_a_run_do_not_share_a_transaction(resource: LoginDatabase, database: Database) -> None:
    batches = [[row(f"{batch}, {number}") for number in range(200)] for batch in range(8)]
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(resource.load, batch, seconds=30) for batch in batches]
        assert sum(load.result().rows for load in loads) == 1600
    assert len(database.logins()) == 1600


@pytest.mark.direct_database("PgBouncer keeps the sessions, and ends them when it likes")
def test_run_s_end_closes_its_connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    with dg.build_resources({"login_postgres": LoginDatabaseResource()}) as resources:
        resources.login_postgres.database.prepare()
        assert database.query(f"SELECT count(*) {BACKENDS}") == [(1,)]
    while database.query(f"SELECT count(*) {BACKENDS}") != [(0,)]:  # the server takes a moment to hear of it
        time.sleep(0.05)
