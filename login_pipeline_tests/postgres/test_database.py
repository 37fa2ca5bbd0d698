"""The database resource against a real PostgreSQL."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import psycopg2
import pytest

from login_pipeline.errors import ConfigurationError, DatabaseError
from login_pipeline.logins.columns import USER_LOGINS, declared_type
from login_pipeline.masking.keys import read_key_ring
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import MAX_CREDIBLE_REFUSALS, Loaded, load_rows
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline.postgres.session import CANCEL_SECONDS
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.unmasking import unmask_all
from login_pipeline.settings import read_settings
from login_pipeline_tests.backup.fixtures import wait_until, waits_for_a_lock
from login_pipeline_tests.conftest import MASKING_KEY, Database
from login_pipeline_tests.roles import roles_of


@pytest.fixture
def resource(database: Database, monkeypatch: pytest.MonkeyPatch) -> LoginDatabase:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    resource = LoginDatabase(read_settings())
    resource.prepare()
    return resource


def row(message_id: str, user_id: str = "user", locale: str | None = None) -> tuple[object, ...]:
    return (user_id, "ios", "mask", "mask", locale, 2, date(2026, 1, 1), message_id)


def for_secrets(does: str) -> str:
    """A trigger on user_logins that does this with a row whose user_id is `secret`."""
    return (
        "CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NEW.user_id = 'secret' THEN {does}; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER each BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION each()"
    )


def test_table_is_the_destination_s_ddl(resource: LoginDatabase) -> None:
    assert resource.columns() == [(column.name, declared_type(column)) for column in USER_LOGINS]


def test_preparing_again_and_many_times_at_once_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(LoginDatabase(read_settings()).prepare) for _ in range(8)]:
            done.result()
    LoginDatabase(read_settings()).load([row("a")], seconds=10)
    LoginDatabase(read_settings()).prepare()
    assert len(database.logins()) == 1
    assert database.query("SELECT count(*) FROM user_logins_inbox") == [(1,)]


def test_type_that_has_the_name_of_a_table_is_not_taken_for_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL says the same where another process has just created the table."""
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    database.query("CREATE TYPE user_logins AS ENUM ()")
    with pytest.raises(DatabaseError, match="duplicate_object"):
        LoginDatabase(read_settings()).prepare()


def test_key_that_the_inbox_has_gets_no_second_row(resource: LoginDatabase, database: Database) -> None:
    assert resource.load([row("a"), row("b")], seconds=10) == Loaded(rows=2, duplicates=0, refused={})
    assert resource.load([row("b"), row("c")], seconds=10) == Loaded(rows=1, duplicates=1, refused={})
    assert len(database.logins()) == 3


def test_two_loads_of_the_same_messages_at_once_give_one_row_each(resource: LoginDatabase, database: Database) -> None:
    rows = [row(str(number)) for number in range(500)]
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(resource.load, batch, seconds=30) for batch in (rows, rows[::-1]) * 2]
        loaded = [load.result() for load in loads]
    assert sum(each.rows for each in loaded) == 500
    assert len(database.logins()) == 500


def test_empty_batch_loads_nothing(resource: LoginDatabase) -> None:
    assert resource.load([], seconds=10) == Loaded(0, 0, {})


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE user_logins ADD CONSTRAINT no_secrets CHECK (user_id <> 'secret')",
        "ALTER TABLE user_logins ALTER locale SET NOT NULL",
        for_secrets("RAISE EXCEPTION '%', NEW.user_id"),
        for_secrets("RAISE check_violation").replace(
            "CREATE TRIGGER each BEFORE INSERT ON user_logins",
            "CREATE CONSTRAINT TRIGGER each AFTER INSERT ON user_logins DEFERRABLE INITIALLY DEFERRED",
        ),
    ],
    ids=["constraint", "null", "trigger", "trigger at commit"],
)
def test_row_that_only_the_database_refuses_costs_its_neighbours_nothing(
    resource: LoginDatabase, database: Database, change: str
) -> None:
    database.query(change)
    refused = {f"id-{number}" for number in (0, 6, 7, 19)}
    bad, good = {"user_id": "secret"}, {"user_id": "good", "locale": "RU"}
    rows = [row(message_id, **bad if message_id in refused else good) for message_id in (f"id-{n}" for n in range(20))]
    loaded = resource.load(rows, seconds=10)
    assert (loaded.rows, loaded.duplicates) == (16, 0)
    assert set(loaded.refused) == refused
    assert len(set(loaded.refused.values())) == 1
    assert set(loaded.refused.values()) <= {
        f"refused.{condition}" for condition in ("check_violation", "raise_exception", "not_null_violation")
    }
    assert len(database.logins()) == 16
    assert database.query("SELECT count(*) FROM user_logins_inbox") == [(16,)]


def test_error_that_is_not_about_a_row_refuses_all_and_quotes_nothing(
    resource: LoginDatabase, database: Database
) -> None:
    database.fill_disk()
    with pytest.raises(DatabaseError) as error:
        resource.load([row("a", user_id="secret")], seconds=10)
    assert "disk_full, SQLSTATE 53100): its disk is full; free some space" in error.value.sentence
    assert "secret" not in error.value.sentence
    assert error.value.__cause__ is None
    assert database.logins() == []
    assert database.query("SELECT count(*) FROM user_logins_inbox") == [(0,)]


def test_load_that_takes_too_long_is_rolled_back(resource: LoginDatabase, database: Database) -> None:
    blocker = psycopg2.connect(database.url)
    blocker.cursor().execute("LOCK TABLE user_logins_inbox")
    try:
        with pytest.raises(DatabaseError, match="query_canceled"):
            resource.load([row("a")], seconds=0.2)
    finally:
        blocker.close()
    assert database.logins() == []


def test_null_is_null_and_text_is_text(resource: LoginDatabase, database: Database) -> None:
    resource.load([row("a", user_id="\\N"), row("b", user_id="None")], seconds=10)
    assert {(each[0], each[4]) for each in database.logins()} == {("\\N", None), ("None", None)}


def test_table_with_other_columns_is_refused_and_left_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    ours = [f"{column.name} {declared_type(column)}" for column in USER_LOGINS]
    for columns, problem in (
        (ours[:2], "masked_ip is missing"),
        ([*ours[:5], "app_version varchar(32)", ours[6]], r"app_version is character varying\(32\), not integer"),
        ([ours[1], ours[0], *ours[2:]], "its columns are in another order"),
    ):
        database.query(f"DROP TABLE IF EXISTS user_logins; CREATE TABLE user_logins ({', '.join(columns)})")
        with pytest.raises(ConfigurationError, match=problem):
            LoginDatabase(read_settings()).prepare()
    assert database.query("SELECT to_regclass('user_logins_inbox')") == [(None,)]


def test_nothing_waits_for_a_locked_table_for_long(
    database: Database, resource: LoginDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an erasure or a restore locks it."""
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    monkeypatch.setattr("login_pipeline.postgres.tables.LOCK_SECONDS", 0.1)
    holder = psycopg2.connect(database.url)
    holder.cursor().execute(f"{statements.ledger.lock_alone}; LOCK TABLE user_logins")
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        LoginDatabase(read_settings(), maintenance=True).prepare()
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        resource.count_rows()
    holder.close()


def test_load_whose_backend_is_terminated_is_tried_again_and_locks_keys_in_order(
    resource: LoginDatabase, database: Database
) -> None:
    """Two loads that lock in one order cannot deadlock: this one waits for "a" and does not hold "b"."""
    other = psycopg2.connect(database.url)
    insert = "INSERT INTO user_logins_inbox (message_id) VALUES (%s)"
    other.cursor().execute(insert, ["a"])
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(resource.load, [row("b"), row("a")], seconds=30)
        wait_until(lambda: waits_for_a_lock(database))
        other.cursor().execute("SET lock_timeout = 500")
        other.cursor().execute(insert, ["b"])
        other.cursor().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        other.rollback()
        assert load.result() == Loaded(rows=2, duplicates=0, refused={})
    other.close()


def test_signal_cancels_a_load_that_waits_for_a_lock(resource: LoginDatabase, database: Database) -> None:
    """libpq itself would wait on, and Python would run the signal's handler afterwards."""
    blocker = psycopg2.connect(database.url)
    blocker.cursor().execute("LOCK TABLE user_logins_inbox")

    def interrupt() -> None:
        wait_until(lambda: waits_for_a_lock(database))
        os.kill(os.getpid(), signal.SIGINT)  # to the process, as a person does, and not to this thread

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            resource.load([row("a")], seconds=120)
    assert not waits_for_a_lock(database)
    blocker.rollback()
    assert database.logins() == []
    blocker.close()


@pytest.mark.parametrize("login", ["superuser", "owner"])
def test_signal_cancels_a_statement_that_has_no_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """As those of backup, restore, forget and keys rotate, also where the login takes on the owner's role."""
    with roles_of(database) as roles:
        monkeypatch.setenv("LOGIN_DATABASE_URL", getattr(roles, login).url)
        began = time.monotonic()
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt), LoginDatabase(read_settings()).transaction() as cursor:
            cursor.execute("SELECT pg_sleep(100)")
        assert time.monotonic() - began < CANCEL_SECONDS


def test_row_that_a_trigger_refuses_with_any_code_or_leaves_out_costs_its_neighbours_nothing(
    resource: LoginDatabase, database: Database
) -> None:
    refused = {
        "RAISE EXCEPTION 'no' USING ERRCODE = 'LG001'": "LG001",
        "RAISE EXCEPTION 'no' USING ERRCODE = '22999'": "22999",
        "RAISE EXCEPTION 'no' USING ERRCODE = 'P0999'": "P0999",
        "RAISE EXCEPTION 'no' USING ERRCODE = '42501'": "insufficient_privilege",
        "RETURN NULL": "skipped_by_trigger",
    }
    for does, condition in refused.items():
        database.query("DROP FUNCTION IF EXISTS each CASCADE; TRUNCATE user_logins_inbox; " + for_secrets(does))
        loaded = resource.load([row("a"), row("b", user_id="secret"), row("c")], seconds=10)
        assert loaded == Loaded(2, 0, {"b": f"refused.{condition}"})
        assert database.query("SELECT message_id FROM user_logins_inbox ORDER BY 1") == [("a",), ("c",)]


def test_table_that_takes_no_row_is_not_tried_with_each(resource: LoginDatabase, database: Database) -> None:
    database.query(
        "CREATE SEQUENCE tries; "
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'no'; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    rows = [row(f"id-{number}") for number in range(1000)]
    loaded = resource.load(rows, seconds=30, believed={"id-0"})
    assert len(loaded.refused) in {MAX_CREDIBLE_REFUSALS + 1, MAX_CREDIBLE_REFUSALS + 2}
    assert (loaded.rows, loaded.duplicates) == (0, 0)
    assert loaded.refused.keys() | set(loaded.not_tried) == {f"id-{number}" for number in range(1000)}
    assert database.query("SELECT last_value < 100 FROM tries") == [(True,)]


@pytest.mark.parametrize("refused", [1, 50])
def test_place_of_a_refused_row_is_found_without_a_scan(
    resource: LoginDatabase, database: Database, refused: int
) -> None:
    """Each of the chunk's rows is read a few times, however many are refused."""
    database.query("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
    every = 500 // refused
    rows = [row(f"id-{number:04}", user_id="good" if number % every else "refused") for number in range(500)]
    with resource.transaction() as cursor:
        assert len(load_rows(cursor, rows, until=time.monotonic() + 30).refused) == refused
        cursor.execute(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = 'pg_temp.incoming_logins'::regclass"
        )
        ((read,),) = cursor.fetchall()
    assert read <= 20 * len(rows)


@pytest.mark.parametrize(("default", "used"), [("off", "on"), ("local", "local")])
def test_what_was_reported_is_on_disk_where_the_database_commits_asynchronously(
    resource: LoginDatabase, database: Database, monkeypatch: pytest.MonkeyPatch, default: str, used: str
) -> None:
    monkeypatch.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
    resource = LoginDatabase(read_settings())
    tables = ("user_logins", "user_logins_dead_letters", "user_logins_erasures", "user_logins_unmaskings")
    database.query(
        "CREATE TABLE seen (relation text, setting text); "
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NEW; END $$"
    )
    database.set_server_log(synchronous_commit=default)
    for table in tables:
        database.query(f"CREATE TRIGGER see BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION see()")
    resource.load([row("a")], seconds=10)
    with resource.record_dead_letters({"sent": Letter("message", "not_json")}) as record:
        record.commit(not_sent=())
    erase(resource, ["user"], "ticket 4711", "jo")
    unmask_all(resource, read_key_ring(MASKING_KEY), ["no mask"], "ticket 4711", "jo")
    assert sorted(database.query("SELECT relation, setting FROM seen")) == [(table, used) for table in sorted(tables)]
