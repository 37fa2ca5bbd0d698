"""Faults of PostgreSQL and of the way to it, each at the worst moment."""

import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from login_pipeline.errors import ConfigurationError
from login_pipeline.ingest.load import FIRST_ROWS
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline.postgres import database as postgres
from login_pipeline.postgres import retries, tables
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.faults.account import Account, one_sentence
from login_pipeline_tests.faults.full_disk import database_on_a_disk
from login_pipeline_tests.faults.moments import background_run, loading, locked, read_only, received
from login_pipeline_tests.faults.sqs_faults import Hold
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.standby import standby
from login_pipeline_tests.faults.tcp_proxy import RECORD, Fault, TcpProxy

FOREVER = 1000


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """More attempts, with less time between them."""
    monkeypatch.setattr(retries, "PAUSES", (0.1, 0.2))


@pytest.fixture
def _little_time(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has four seconds to load what it received: of the shortest visibility timeout a smaller part."""
    pipeline.set(LOGIN_VISIBILITY_TIMEOUT=30)
    monkeypatch.setattr("login_pipeline.sqs.login_queues.LOAD_DEADLINE_FRACTION", 4 / 30)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.COMMIT_LOST])
def test_commit_whose_outcome_is_unknown_is_found_out_by_the_run_itself(
    account: Account, tcp_proxy: TcpProxy, fault: Fault
) -> None:
    account.send(15, malformed=3)
    tcp_proxy.at_commit(fault)
    run = account.pipeline.run()
    assert tcp_proxy.broken == 1
    assert run.failures == []
    account.assert_settled()


@pytest.mark.usefixtures("_short_pauses", "_little_time")
@pytest.mark.parametrize(("fault", "loaded"), [(Fault.ANSWER_LOST, FIRST_ROWS), (Fault.COMMIT_LOST, 0)])
def test_commit_that_never_succeeds_fails_the_run_and_costs_nothing(
    account: Account, tcp_proxy: TcpProxy, fault: Fault, loaded: int
) -> None:
    """What the first transaction may have committed is not deleted, and no other one is begun."""
    account.send(15, malformed=3)
    tcp_proxy.at_commit(fault, times=FOREVER)
    assert "connection to the database broke" in one_sentence(account.pipeline.run())
    assert tcp_proxy.broken > 5 * len(retries.PAUSES)
    account.assert_nothing_is_lost()
    assert len(account.rows()) == loaded
    assert len(account.on_queue()) == 15

    tcp_proxy.heal()
    (run,) = account.drain()
    assert run.metadata["user_logins_table"]["duplicates"] == loaded
    account.assert_settled()


@pytest.mark.usefixtures("_little_time")
@pytest.mark.parametrize(("fault", "loaded"), [(Fault.SILENCE_AFTER, 10), (Fault.SILENCE_BEFORE, 0)])
def test_server_that_is_silent_at_the_commit_is_given_up_and_costs_nothing(
    account: Account, tcp_proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault, loaded: int
) -> None:
    """Where the COMMIT never arrived, the server rolls back on its own: its locks would hold up the next run."""
    monkeypatch.setattr("login_pipeline.postgres.session.RESPONSE_SECONDS", 0.5)
    monkeypatch.setattr("login_pipeline.postgres.session.IDLE_SECONDS", 1.0)
    account.send(10)
    tcp_proxy.at_commit(fault)
    assert "has been silent for" in one_sentence(account.pipeline.run())
    account.assert_nothing_is_lost()
    assert len(account.rows()) == loaded
    assert len(account.on_queue()) == 10

    (run,) = account.drain()  # while the proxy still holds the connection open
    assert run.metadata["user_logins_table"]["duplicates"] == loaded
    account.assert_settled()


def test_backend_that_is_terminated_in_the_middle_of_a_load_costs_nothing(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(10)
    database = account.pipeline.database
    with loading(account.pipeline, sqs_proxy) as run:
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'login-pipeline' AND datname = current_database()"
        )
    assert run.result().failures == []
    account.assert_settled()


def test_database_that_cannot_be_reached_costs_no_delivery(
    account: Account, sqs_proxy: SqsProxy, tcp_proxy: TcpProxy
) -> None:
    account.send(5)
    tcp_proxy.accepting = False
    assert one_sentence(account.pipeline.run()).startswith("The database in LOGIN_DATABASE_URL cannot be used")
    assert sqs_proxy.calls["ReceiveMessage"] == 0
    tcp_proxy.heal()
    account.drain()
    account.assert_settled()


def test_database_that_says_nothing_is_given_up_after_the_connect_timeout(
    account: Account, tcp_proxy: TcpProxy
) -> None:
    url = account.pipeline.environment["LOGIN_DATABASE_URL"]
    account.pipeline.set(LOGIN_DATABASE_URL=f"{url}{'&' if '?' in url else '?'}connect_timeout=2")
    tcp_proxy.answering = False
    with pytest.raises(ConfigurationError, match="the server does not answer"):
        LoginDatabase(read_settings()).prepare()
    tcp_proxy.heal()
    account.send(5)
    account.drain()
    account.assert_settled()


def test_table_that_is_locked_before_the_run_costs_no_delivery(
    account: Account, sqs_proxy: SqsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_SECONDS", 0.2)
    monkeypatch.setattr(tables, "LOCK_SECONDS", 0.2)
    account.pipeline.run()
    calls = sqs_proxy.calls["ReceiveMessage"]
    account.send(5)
    with locked(account.pipeline.database):
        assert "a table is locked by another session" in one_sentence(account.pipeline.run())
    account.assert_nothing_is_lost()
    assert sqs_proxy.calls["ReceiveMessage"] == calls
    account.drain()
    account.assert_settled()


@pytest.mark.usefixtures("_little_time")
def test_table_that_is_locked_until_the_messages_are_nearly_visible_again_loads_nothing(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    account.send(20, malformed=3)
    with loading(account.pipeline, sqs_proxy) as run:
        assert "query_canceled" in one_sentence(run.result(60))
        account.assert_nothing_is_lost()
    assert account.rows() == {}
    account.drain()
    account.assert_settled()


def test_record_of_dead_letters_that_is_locked_costs_no_login(
    account: Account, sqs_proxy: SqsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be recorded is not sent."""
    monkeypatch.setattr("login_pipeline.postgres.dead_letters.STATEMENT_SECONDS", 0.3)
    account.send(10, malformed=3)
    hold = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", hold), background_run(account.pipeline) as run:
        hold.wait()
        with locked(account.pipeline.database, "user_logins_dead_letters"):
            hold.let_go()
            assert "query_canceled" in one_sentence(run.result(60))
    account.assert_nothing_is_lost()
    assert (len(account.rows()), account.letters()) == (10, {})
    account.drain()
    account.assert_settled()


def test_database_that_is_read_only_costs_no_delivery(account: Account, sqs_proxy: SqsProxy) -> None:
    account.pipeline.run()
    calls = sqs_proxy.calls["ReceiveMessage"]
    account.send(5)
    with read_only(account.pipeline.database):
        assert "takes no writes; name the primary server" in one_sentence(account.pipeline.run())
    account.assert_nothing_is_lost()
    assert sqs_proxy.calls["ReceiveMessage"] == calls
    account.drain()
    account.assert_settled()


@pytest.mark.usefixtures("_short_pauses", "_little_time")
@pytest.mark.parametrize("promoted", [True, False])
def test_database_that_becomes_read_only_during_a_run_is_waited_for_while_there_is_time(
    account: Account, sqs_proxy: SqsProxy, promoted: bool
) -> None:
    account.send(20, malformed=3)
    with ExitStack() as while_read_only:
        with received(account.pipeline, sqs_proxy) as run:
            while_read_only.enter_context(read_only(account.pipeline.database))
            if promoted:
                threading.Timer(1, while_read_only.close).start()
        failures = run.result().failures
    if promoted:
        assert failures == []
    else:
        waited, *rest = failures  # the quarantine, and the load, which may find that no time is left
        assert "read_only_sql_transaction, SQLSTATE 25006" in waited
        assert all("SQLSTATE 25006" in sentence or "The run took over" in sentence for sentence in rest)
        assert len(rest) == 1
        account.assert_nothing_is_lost()
        account.drain()
    account.assert_settled()


@pytest.mark.usefixtures("_short_pauses")
def test_load_goes_on_while_the_database_cannot_be_reached_and_there_is_time(
    account: Account, sqs_proxy: SqsProxy, tcp_proxy: TcpProxy
) -> None:
    """Its connection is closed, and no other one is made for many times the pauses."""
    account.send(20, malformed=3)
    with received(account.pipeline, sqs_proxy) as run:
        tcp_proxy.accepting = False
        tcp_proxy.cut()
        heals = time.monotonic() + 3
        threading.Timer(3, tcp_proxy.heal).start()
    assert run.result().failures == []
    assert time.monotonic() > heals
    account.assert_settled()


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.COMMIT_LOST])
def test_commit_of_dead_letters_whose_outcome_is_unknown_is_found_out_by_the_run_itself(
    account: Account, tcp_proxy: TcpProxy, fault: Fault
) -> None:
    """A letter is sent again where its record is lost, as it would be at the next delivery."""
    account.pipeline.run()
    account.send(5, malformed=3)
    tcp_proxy.at_commit(fault, of=RECORD)
    run = account.pipeline.run()
    assert (tcp_proxy.broken, run.failures) == (1, [])
    account.assert_settled(letters_twice=fault is Fault.COMMIT_LOST)
    assert account.pipeline.dead_letter_queue.count() == (6 if fault is Fault.COMMIT_LOST else 3)


@pytest.mark.parametrize("before_it", ["a standby", "nobody"])
def test_list_of_hosts_finds_the_primary_behind(account: Account, before_it: str) -> None:
    """In each of libpq's ways to write it; docs/reliability.md has them."""
    database = account.pipeline.database
    parts = urlsplit(database.url)
    with standby(database) if before_it == "a standby" else nullcontext() as other:
        first = urlsplit(other.url).port if other else free_port()
        credentials = parts.netloc.rpartition("@")[0]
        for hosts in (
            f"{credentials}@{HOST}:{first},{HOST}:{parts.port}{parts.path}?",
            f"{credentials}@{parts.path}?host={HOST},{HOST}&port={first},{parts.port}&",
        ):
            account.pipeline.set(LOGIN_DATABASE_URL=f"postgresql://{hosts}target_session_attrs=read-write")
            account.send(5)
            assert account.pipeline.run().failures == []
        account.assert_settled()


def test_list_of_hosts_without_a_primary_is_one_sentence(account: Account) -> None:
    with standby(account.pipeline.database) as other:
        account.pipeline.set(LOGIN_DATABASE_URL=f"{other.url}?target_session_attrs=read-write")
        assert one_sentence(account.pipeline.run()).endswith(
            "cannot be used: no server that it names is what target_session_attrs asks for; write read-write there, "
            "and name the primary server, too"
        )


@pytest.mark.direct_database("PgBouncer has its clients wait where a role has as many sessions as it may")
def test_too_many_connections_cost_no_delivery(account: Account, sqs_proxy: SqsProxy) -> None:
    account.send(5)
    with only_one_connection(account.pipeline) as url:
        with closing(psycopg2.connect(url)):
            assert "as many connections as it may" in one_sentence(account.pipeline.run())
        assert sqs_proxy.calls["ReceiveMessage"] == 0
        account.drain()
    account.assert_settled()


def test_full_disk_costs_nothing_and_the_rest_is_loaded_when_there_is_room(
    account: Account, sqs_proxy: SqsProxy
) -> None:
    with database_on_a_disk() as full:
        account.pipeline.database = full.database
        account.pipeline.set(LOGIN_DATABASE_URL=full.database.url)
        account.send(60, malformed=3)
        with received(account.pipeline, sqs_proxy) as run:
            full.fill()
        assert "disk_full, SQLSTATE 53100" in one_sentence(run.result())
        account.assert_nothing_is_lost()
        assert len(account.rows()) <= FIRST_ROWS  # they may fit in the page that the first run's trial left
        full.free()
        account.drain()
        account.assert_settled()


def test_server_that_is_restarted_in_the_middle_of_a_load_costs_nothing(account: Account, sqs_proxy: SqsProxy) -> None:
    with restartable_postgres(account.pipeline) as restart:
        account.send(20, malformed=3)
        with loading(account.pipeline, sqs_proxy) as run:
            restart()
        assert run.result().failures == []
        account.assert_settled()


@contextmanager
def only_one_connection(pipeline: Pipeline) -> Iterator[str]:
    """A role that may connect once, which the pipeline has, too; its URL. PostgreSQL limits no superuser."""
    role, password = f"test_{uuid.uuid4().hex}", secrets.token_hex(16)
    pipeline.database.query(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD %s", password)
    pipeline.database.query(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    parts = urlsplit(pipeline.database.url)
    url = urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))
    pipeline.set(LOGIN_DATABASE_URL=url)
    try:
        yield url
    finally:
        pipeline.database.query(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")


@contextmanager
def restartable_postgres(pipeline: Pipeline) -> Iterator[Callable[[], None]]:
    """Another server under the pipeline, behind an address that stays; what is given restarts it."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder()) / "postgresql"
        servers = [LocalPostgres(folder)]
        stack.callback(lambda: servers[-1].stop())
        pipeline.database.url = servers[-1].create_database("logins")
        proxy = stack.enter_context(TcpProxy(pipeline.database.url))
        pipeline.set(LOGIN_DATABASE_URL=proxy.url)

        def restart() -> None:
            servers[-1].stop()
            servers.append(LocalPostgres(folder))
            pipeline.database.url = proxy.upstream = servers[-1].url("logins")

        yield restart
