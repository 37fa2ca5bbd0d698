"""The database resource against a real PostgreSQL."""

import os
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from urllib.parse import urlsplit

import psycopg2
import pytest

from login_pipeline.errors import ConfigurationError, DatabaseError, LoginPipelineError
from login_pipeline.logins.columns import USER_LOGINS, declared_type
from login_pipeline.masking.keys import read_key_ring
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import MAX_CREDIBLE_REFUSALS, Loaded, load_rows
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.unmasking import unmask_all
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import MASKING_KEY, Database


@pytest.fixture
def resource(database: Database, monkeypatch: pytest.MonkeyPatch) -> LoginDatabase:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    resource = LoginDatabase(read_settings())
    resource.prepare()
    return resource


def row(message_id: str, user_id: str = "user", locale: str | None = None) -> tuple[object, ...]:
    return (user_id, "ios", "mask", "mask", locale, 2, date(2026, 1, 1), message_id)


def test_table_is_the_destination_s_ddl(resource: LoginDatabase) -> None:
    assert resource.columns() == [(column.name, declared_type(column)) for column in USER_LOGINS]


def test_preparing_twice_changes_nothing(resource: LoginDatabase, database: Database) -> None:
    resource.load([row("a")], seconds=10)
    resource.prepare()
    assert len(database.logins()) == 1
    assert database.query("SELECT count(*) FROM user_logins_inbox") == [(1,)]


def test_preparing_at_once_from_many_runs_works(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(LoginDatabase(read_settings()).prepare) for _ in range(8)]:
            done.result()


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


def test_keys_are_inserted_in_order_so_that_two_loads_cannot_deadlock(
    resource: LoginDatabase, database: Database
) -> None:
    other = psycopg2.connect(database.url)
    insert = "INSERT INTO user_logins_inbox (message_id) VALUES (%s)"
    with ThreadPoolExecutor(1) as pool:
        other.cursor().execute(insert, ["a"])
        load = pool.submit(resource.load, [row("b"), row("a")], seconds=30)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while database.query(waiting) == [(0,)]:
            time.sleep(0.05)
        other.cursor().execute(insert, ["b"])  # the load waits for "a" and must not hold "b"
        other.rollback()
        assert load.result() == Loaded(rows=2, duplicates=0, refused={})
    other.close()


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ("REVOKE INSERT ON user_logins FROM {role}", "INSERT on user_logins"),
        ("REVOKE SELECT ON user_logins_inbox FROM {role}", "SELECT on user_logins_inbox"),
        (
            "ALTER TABLE user_logins_inbox ADD COLUMN other text",
            "the columns of user_logins_inbox, which are other ones",
        ),
        (
            "ALTER TABLE user_logins RENAME TO t; CREATE VIEW user_logins AS SELECT * FROM t; "
            "GRANT ALL ON user_logins TO {role}",
            "a table under the name user_logins, which is a view or the like",
        ),
    ],
)
def test_what_a_load_would_lack_is_found_before(
    resource: LoginDatabase, database: Database, monkeypatch: pytest.MonkeyPatch, change: str, lacking: str
) -> None:
    role = f"loader_{uuid.uuid4().hex}"
    database.query(f"CREATE ROLE {role} LOGIN PASSWORD 'loader'")
    database.query(f"GRANT SELECT, INSERT ON user_logins, user_logins_inbox, user_logins_dead_letters TO {role}")
    database.query(f"GRANT SELECT ON user_logins_ledger TO {role}")
    parts = urlsplit(database.url)
    monkeypatch.setenv("LOGIN_DATABASE_URL", f"postgresql://{role}:loader@{parts.hostname}:{parts.port}{parts.path}")
    loader = LoginDatabase(read_settings())
    try:
        loader.prepare()
        assert loader.load([row("a")], seconds=10) == Loaded(1, 0, {})
        database.query(change.format(role=role))
        with pytest.raises(ConfigurationError, match=f"lacks {lacking}"):
            loader.prepare()
    finally:
        database.query(f"DROP OWNED BY {role}")
        database.query(f"DROP ROLE {role}")


def test_database_in_another_encoding_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    name = urlsplit(database.url).path[1:]
    connection = psycopg2.connect(database.url)
    connection.autocommit = True
    options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    connection.cursor().execute(f"CREATE DATABASE {name}_latin1 {options}")
    monkeypatch.setenv("LOGIN_DATABASE_URL", f"{database.url}_latin1")
    with pytest.raises(ConfigurationError, match="not encoded in UTF8"):
        LoginDatabase(read_settings()).prepare()
    connection.cursor().execute(f"DROP DATABASE {name}_latin1")
    connection.close()


def test_empty_batch_loads_nothing(resource: LoginDatabase) -> None:
    assert resource.load([], seconds=10) == Loaded(0, 0, {})


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE user_logins ADD CONSTRAINT no_secrets CHECK (user_id <> 'secret')",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.user_id = 'secret' THEN "
        "RAISE EXCEPTION '%', NEW.user_id; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.user_id = 'secret' THEN "
        "RAISE check_violation; END IF; RETURN NEW; END $$; "
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON user_logins DEFERRABLE "
        "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
    ids=["constraint", "trigger", "trigger at commit"],
)
def test_row_that_only_the_database_refuses_costs_its_neighbours_nothing(
    resource: LoginDatabase, database: Database, change: str
) -> None:
    database.query(change)
    rows = [row(f"id-{number}", user_id="secret" if number in (0, 6, 7, 19) else "good") for number in range(20)]
    loaded = resource.load(rows, seconds=10)
    assert (loaded.rows, loaded.duplicates) == (16, 0)
    assert set(loaded.refused) == {"id-0", "id-6", "id-7", "id-19"}
    assert set(loaded.refused.values()) <= {"refused.check_violation", "refused.raise_exception"}
    assert len(database.logins()) == 16
    assert database.query("SELECT count(*) FROM user_logins_inbox") == [(16,)]


def test_null_that_the_table_does_not_take_is_refused_by_its_row(resource: LoginDatabase, database: Database) -> None:
    database.query("ALTER TABLE user_logins ALTER locale SET NOT NULL")
    loaded = resource.load([row("a"), row("b", locale="RU")], seconds=10)
    assert loaded == Loaded(1, 0, {"a": "refused.not_null_violation"})


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


@pytest.mark.parametrize(
    ("ddl", "problem"),
    [
        ("user_id varchar(128), device_type varchar(32)", "masked_ip is missing"),
        (
            "user_id varchar(128), device_type varchar(32), masked_ip varchar(256), masked_device_id varchar(256), "
            "locale varchar(32), app_version varchar(32), create_date date",
            r"app_version is character varying\(32\), not integer",
        ),
        (
            "device_type varchar(32), user_id varchar(128), masked_ip varchar(256), masked_device_id varchar(256), "
            "locale varchar(32), app_version integer, create_date date",
            "its columns are in another order",
        ),
        (
            "user_id varchar(128), device_type varchar(32), masked_ip varchar(256), masked_device_id varchar(256), "
            "locale varchar(32), app_version integer, create_date date, ip text",
            "ip is not one of its columns",
        ),
    ],
)
def test_table_with_other_columns_is_refused_and_left_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch, ddl: str, problem: str
) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    database.query(f"CREATE TABLE user_logins ({ddl})")
    with pytest.raises(ConfigurationError, match=problem):
        LoginDatabase(read_settings()).prepare()
    assert database.query("SELECT to_regclass('user_logins_inbox')") == [(None,)]


def test_preparing_waits_for_no_lock_for_long(
    database: Database, resource: LoginDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an erasure or a restore holds it."""
    monkeypatch.setattr("login_pipeline.postgres.tables.LOCK_SECONDS", 0.1)
    holder = psycopg2.connect(database.url)
    holder.cursor().execute(statements.ledger.lock_alone)
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        LoginDatabase(read_settings(), maintenance=True).prepare()
    holder.close()


def waiting_for_a_lock(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return database.query(waiting) != [(0,)]


def test_load_whose_backend_is_terminated_is_tried_again(resource: LoginDatabase, database: Database) -> None:
    blocker = psycopg2.connect(database.url)
    blocker.cursor().execute("LOCK TABLE user_logins_inbox")
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(resource.load, [row("a")], seconds=30)
        while not waiting_for_a_lock(database):
            time.sleep(0.05)
        blocker.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        blocker.rollback()
        assert load.result() == Loaded(1, 0, {})
    blocker.close()


def test_signal_cancels_a_load_that_waits_for_a_lock(resource: LoginDatabase, database: Database) -> None:
    """libpq itself would wait on, and Python would run the signal's handler afterwards."""
    blocker = psycopg2.connect(database.url)
    blocker.cursor().execute("LOCK TABLE user_logins_inbox")

    def interrupt() -> None:
        while not waiting_for_a_lock(database):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)  # to the process, as a person does, and not to this thread

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            resource.load([row("a")], seconds=120)
    assert not waiting_for_a_lock(database)
    blocker.rollback()
    assert database.logins() == []
    blocker.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "takes no writes; name the primary server"),
        ("LOCK TABLE user_logins IN SHARE MODE; SELECT pg_sleep(0.01)", "a table is locked by another session"),
    ],
)
def test_table_that_cannot_be_written_is_found_before(
    resource: LoginDatabase, database: Database, monkeypatch: pytest.MonkeyPatch, change: str, sentence: str
) -> None:
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    other = psycopg2.connect(database.url)
    other.autocommit = "ALTER" in change
    other.cursor().execute(change.format(name=urlsplit(database.url).path[1:]))
    with pytest.raises(LoginPipelineError, match=sentence):
        resource.check()
    other.close()


@pytest.mark.parametrize("code", ["LG001", "22999", "P0999", "42501"])
def test_row_that_a_trigger_refuses_with_a_code_of_its_own_costs_its_neighbours_nothing(
    resource: LoginDatabase, database: Database, code: str
) -> None:
    database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.user_id = 'secret' THEN "
        f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    loaded = resource.load([row("a"), row("b", user_id="secret"), row("c")], seconds=10)
    condition = "insufficient_privilege" if code == "42501" else code
    assert loaded == Loaded(2, 0, {"b": f"refused.{condition}"})


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


def test_row_that_a_trigger_leaves_out_without_a_word_is_refused_and_not_taken_for_a_duplicate(
    resource: LoginDatabase, database: Database
) -> None:
    database.query(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.user_id = 'secret' THEN "
        "RETURN NULL; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER leave_out BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION leave_out()"
    )
    loaded = resource.load([row("a"), row("b", user_id="secret"), row("c")], seconds=10)
    assert loaded == Loaded(2, 0, {"b": "refused.skipped_by_trigger"})
    assert database.query("SELECT message_id FROM user_logins_inbox ORDER BY 1") == [("a",), ("c",)]


def test_signal_cancels_any_statement(resource: LoginDatabase, database: Database) -> None:
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt), resource.transaction() as cursor:
        cursor.execute("SELECT pg_sleep(100)")


def test_table_that_is_locked_is_told_by_every_command(
    resource: LoginDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    other = psycopg2.connect(database.url)
    other.cursor().execute("LOCK TABLE user_logins")
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        resource.count_rows()
    other.close()


def test_what_was_reported_is_on_disk_where_the_database_commits_asynchronously(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    monkeypatch.setenv("LOGIN_MASKING_KEY", MASKING_KEY)
    resource = LoginDatabase(read_settings())
    resource.prepare()
    tables = ("user_logins", "user_logins_dead_letters", "user_logins_erasures", "user_logins_unmaskings")
    database.query(
        "CREATE TABLE seen (relation text, setting text); "
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting('synchronous_commit')); RETURN NEW; END $$; "
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$"
    )
    for table in tables:
        database.query(f"CREATE TRIGGER see BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION see()")
    resource.load([row("a")], seconds=10)
    with resource.record_dead_letters({"sent": Letter("message", "not_json")}) as record:
        record.commit(not_sent=())
    erase(resource, "user", "ticket 4711", "jo")
    unmask_all(resource, read_key_ring(MASKING_KEY), ["no mask"], "ticket 4711", "jo")
    assert sorted(database.query("SELECT relation, setting FROM seen")) == [(table, "on") for table in sorted(tables)]
