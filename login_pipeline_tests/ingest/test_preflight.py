"""What a run refuses before it receives anything, `doctor` calls wrong, in the same sentence."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg2
import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.ingest import preflight
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.postgres import retries
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.exclusion import try_exclusion
from login_pipeline.postgres.session import InterruptibleConnection
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Command, Pipeline
from login_pipeline_tests.faults.other_database import OtherDatabase
from login_pipeline_tests.faults.standby import promote, standby
from login_pipeline_tests.faults.tcp_proxy import TcpProxy
from login_pipeline_tests.roles import Roles, roles_of

Body = Callable[..., str]
# What is wrong with the tables, by a statement of a superuser, and what the sentence says of it.
SET_UPS = {
    "read-only": (
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "takes no writes; name the primary server",
    ),
    "no right to insert": (
        "REVOKE INSERT ON user_logins FROM login_pipeline_loader",
        "lacks INSERT on user_logins",
    ),
    "no right to insert dead letters": (
        "REVOKE INSERT ON user_logins_dead_letters FROM login_pipeline_loader",
        "lacks INSERT on user_logins_dead_letters",
    ),
    "no right to read the inbox": (
        "REVOKE SELECT ON user_logins_inbox FROM login_pipeline_loader",
        "lacks SELECT on user_logins_inbox",
    ),
    "no temporary tables": (
        "REVOKE TEMPORARY ON DATABASE {database} FROM login_pipeline_loader",
        "lacks TEMPORARY on the database",
    ),
    "a view": (
        "ALTER TABLE user_logins RENAME TO logins; CREATE VIEW user_logins AS SELECT * FROM logins; "
        "GRANT ALL ON user_logins TO login_pipeline_loader",
        "which is a view or the like",
    ),
    "a foreign table": (
        "ALTER TABLE user_logins RENAME TO logins; "
        "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere; "
        "CREATE FOREIGN TABLE user_logins (user_id varchar(128), device_type varchar(32), masked_ip varchar(256), "
        "masked_device_id varchar(256), locale varchar(32), app_version integer, create_date date) SERVER elsewhere; "
        "GRANT ALL ON user_logins TO login_pipeline_loader",
        "which is a view or the like",
    ),
    "other columns": ("ALTER TABLE user_logins ADD COLUMN more text", "more is not one of its columns"),
    "other columns of the inbox": (
        "ALTER TABLE user_logins_inbox ADD COLUMN more text",
        "lacks the columns of user_logins_inbox, which are other ones",
    ),
    "no partition for today": (
        "ALTER TABLE user_logins RENAME TO logins; "
        "CREATE TABLE user_logins (LIKE logins) PARTITION BY RANGE (create_date); "
        "GRANT ALL ON user_logins TO login_pipeline_loader",
        "takes no rows of today from this role (no_partition); create the partition",
    ),
    "row-level security on the rows": (
        "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY",
        "takes no rows of today from this role (insufficient_privilege); grant the role what it needs, or change",
    ),
    "row-level security on the inbox": (
        "ALTER TABLE user_logins_inbox ENABLE ROW LEVEL SECURITY",
        "takes no rows of today from this role (insufficient_privilege); grant the role what it needs, or change",
    ),
    "row-level security that refuses dead letters": (
        "ALTER TABLE user_logins_dead_letters ENABLE ROW LEVEL SECURITY",
        "Row-level security applies to the role in LOGIN_DATABASE_URL",
    ),
    "a trigger that leaves dead letters out": (
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER leave_out BEFORE INSERT ON user_logins_dead_letters FOR EACH ROW EXECUTE FUNCTION leave_out()",
        "Table user_logins_dead_letters does not keep, or does not show, the records",
    ),
    "a trigger that leaves inbox entries out": (
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER leave_out BEFORE INSERT ON user_logins_inbox FOR EACH ROW EXECUTE FUNCTION leave_out()",
        "The database in LOGIN_DATABASE_URL takes a message that is new for one that the inbox has; docs/databases.md",
    ),
    "an inbox without its key": (
        "ALTER TABLE user_logins_inbox DROP CONSTRAINT user_logins_inbox_pkey",
        "refuses ON CONFLICT (invalid_column_reference, SQLSTATE 42P10); docs/databases.md says what a load leans on",
    ),
}
# What a database that is not PostgreSQL refuses: words of a statement, the SQLSTATE, and what the sentence says.
REFUSED = {
    "set_config": (b"set_config", b"42883", "refuses set_config (undefined_function, SQLSTATE 42883)"),
    "savepoints": (b"SAVEPOINT create_tables", b"0A000", "refuses SAVEPOINT (feature_not_supported, SQLSTATE 0A000)"),
    "table locks": (
        b"LOCK TABLE user_logins_inbox IN ROW EXCLUSIVE",
        b"42601",
        "refuses SET CONSTRAINTS or LOCK TABLE or TEMPORARY (syntax_error, SQLSTATE 42601)",
    ),
    "temporary tables": (
        b"CREATE TEMPORARY TABLE incoming_logins",
        b"0A000",
        "refuses SET CONSTRAINTS or LOCK TABLE or TEMPORARY (feature_not_supported, SQLSTATE 0A000)",
    ),
    "COPY": (b"COPY incoming_logins", b"0A000", "refuses COPY (feature_not_supported, SQLSTATE 0A000)"),
    "ON CONFLICT": (b"ON CONFLICT (message_id)", b"0A000", "refuses ON CONFLICT (feature_not_supported"),
}
# What it takes for something else, and what the sentence says of it.
TAKEN_FOR = {
    "a table lock that excludes nobody": (
        b"LOCK TABLE user_logins_backup IN SHARE ROW EXCLUSIVE MODE NOWAIT",
        b"SELECT 1",
        "gives two connections table locks that exclude each other",
    ),
    "keys for which nobody waits": (
        b"SET CONSTRAINTS ALL IMMEDIATE;",
        b"CREATE TEMPORARY TABLE IF NOT EXISTS user_logins_inbox (LIKE public.user_logins_inbox INCLUDING ALL);",
        "lets two connections load the same message at the same time",
    ),
}


@pytest.fixture
def prepared(pipeline: Pipeline) -> Iterator[Roles]:
    """The tables are the owner's; runs have the loader's rights."""
    with roles_of(pipeline.database) as roles:
        pipeline.set(LOGIN_DATABASE_URL=roles.loader.url, LOGIN_MAINTENANCE_DATABASE_URL=roles.owner.url)
        LoginDatabase(read_settings(), maintenance=True).prepare(as_owner=True)
        yield roles
        name = urlsplit(pipeline.database.url).path[1:]
        pipeline.database.query(f"SET transaction_read_only = off; ALTER DATABASE {name} RESET ALL")


def refused_by_a_run_and_by_doctor(pipeline: Pipeline, body: Body, subject: str) -> str:
    """The one sentence that both say; nothing was received."""
    pipeline.queue.send(body())
    wrong = {finding.subject: finding.says for finding in examine() if not finding.well}
    (failure,) = pipeline.run().failures
    assert wrong[subject] == failure
    (message,) = pipeline.queue.take_all()
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    return failure


@pytest.mark.parametrize(("statement", "sentence"), SET_UPS.values(), ids=SET_UPS)
def test_what_is_wrong_with_the_tables(
    pipeline: Pipeline, prepared: Roles, body: Body, statement: str, sentence: str
) -> None:
    prepared.superuser.query(statement.replace("{database}", urlsplit(pipeline.database.url).path[1:]))
    assert sentence in refused_by_a_run_and_by_doctor(pipeline, body, "database")


@pytest.fixture
def other_database(pipeline: Pipeline) -> Iterator[OtherDatabase]:
    with OtherDatabase(pipeline.database.url) as other:
        pipeline.set(LOGIN_DATABASE_URL=other.url)
        LoginDatabase(read_settings()).prepare()
        yield other


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED.values(), ids=REFUSED)
def test_database_that_lacks_what_a_load_leans_on(
    pipeline: Pipeline, other_database: OtherDatabase, body: Body, words: bytes, code: bytes, sentence: str
) -> None:
    other_database.refused[words] = code
    says = refused_by_a_run_and_by_doctor(pipeline, body, "database")
    assert says.startswith(f"The database in LOGIN_DATABASE_URL {sentence}")
    assert says.endswith("; docs/databases.md says what a load leans on and which databases have it")


@pytest.mark.parametrize(("words", "others", "sentence"), TAKEN_FOR.values(), ids=TAKEN_FOR)
def test_database_in_which_two_loads_do_not_exclude_each_other(
    pipeline: Pipeline, other_database: OtherDatabase, body: Body, words: bytes, others: bytes, sentence: str
) -> None:
    other_database.taken_for[words] = others
    says = refused_by_a_run_and_by_doctor(pipeline, body, "database")
    assert says.startswith(f"The database in LOGIN_DATABASE_URL {sentence}; docs/databases.md")
    assert pipeline.database.query("SELECT count(*) FROM user_logins_inbox") == [(0,)]


def test_database_that_cannot_commit_a_load(pipeline: Pipeline, other_database: OtherDatabase, body: Body) -> None:
    other_database.taken_for[b"SET CONSTRAINTS ALL IMMEDIATE;"] = (
        b"CREATE TEMPORARY TABLE IF NOT EXISTS late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP; "
        b"INSERT INTO late VALUES (1), (1);"
    )
    assert "a statement (unique_violation" in refused_by_a_run_and_by_doctor(pipeline, body, "database")


def test_error_inside_the_server_names_the_document(
    pipeline: Pipeline, other_database: OtherDatabase, body: Body
) -> None:
    other_database.refused[b"COPY incoming_logins"] = b"XX000"
    says = refused_by_a_run_and_by_doctor(pipeline, body, "database")
    assert "(internal_error, SQLSTATE XX000): its log says more; if it is no PostgreSQL, docs/databases.md does" in says


def test_first_run_tries_what_it_has_just_created(pipeline: Pipeline, body: Body) -> None:
    with OtherDatabase(pipeline.database.url) as other:
        pipeline.set(LOGIN_DATABASE_URL=other.url)
        other.taken_for = {words: others for words, others, _ in TAKEN_FOR.values()}
        (failure,) = pipeline.run().failures
        assert "gives two connections table locks that exclude each other" in failure


def test_runs_try_a_second_connection_until_a_message_is_loaded_and_doctor_always(
    pipeline: Pipeline, other_database: OtherDatabase, body: Body
) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    words, others, sentence = TAKEN_FOR["a table lock that excludes nobody"]
    other_database.taken_for[words] = others
    assert pipeline.run().failures == []
    assert sentence in {each.subject: each.says for each in examine()}["database"]


def test_role_of_one_connection_runs_and_doctor_says_what_was_not_tried(
    pipeline: Pipeline, prepared: Roles, body: Body
) -> None:
    role = urlsplit(prepared.loader.url).username
    prepared.superuser.query(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    database = {each.subject: each for each in examine()}["database"]
    assert (database.well, database.warns) == (True, True)
    assert database.says.endswith("was not, because the role gets one connection only")
    while prepared.superuser.query("SELECT FROM pg_stat_activity WHERE usename = %s", role):
        time.sleep(0.01)  # until the server has ended doctor's session
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 1


def test_pooler_that_has_one_connection_for_both_ends_the_trial(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.postgres.session.RESPONSE_SECONDS", 0.5)
    database = LoginDatabase(read_settings())
    database.prepare()
    with TcpProxy(pipeline.database.url) as pooler:
        pipeline.set(LOGIN_DATABASE_URL=pooler.url)
        with LoginDatabase(read_settings()).transaction() as cursor:
            connect = cursor.connection.connect

        def connect_and_wait() -> InterruptibleConnection:
            connection = connect()
            pooler.answering = False
            return connection

        with database.transaction(seconds=10) as first:
            first.connection.connect = connect_and_wait
            assert not try_exclusion(first, database.access)
            first.connection.rollback()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_in_another_encoding(pipeline: Pipeline, body: Body, encoding: str) -> None:
    name = f"{urlsplit(pipeline.database.url).path[1:]}_{encoding.lower()}"
    with closing(psycopg2.connect(pipeline.database.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        pipeline.set(LOGIN_DATABASE_URL=f"{pipeline.database.url}_{encoding.lower()}")
        sentence = refused_by_a_run_and_by_doctor(pipeline, body, "database")
        connection.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert "not encoded in UTF8" in sentence


def test_dead_letter_queue_that_is_the_login_queue_under_another_host_name(pipeline: Pipeline, body: Body) -> None:
    pipeline.set(LOGIN_DEAD_LETTER_QUEUE_URL=pipeline.queue.url.replace("127.0.0.1", "localhost"))
    assert "names the same queue" in refused_by_a_run_and_by_doctor(pipeline, body, "dead-letter queue")


def test_trial_leaves_nothing_and_waits_for_no_other(pipeline: Pipeline) -> None:
    database = LoginDatabase(read_settings())
    database.prepare()
    with closing(psycopg2.connect(pipeline.database.url)) as other:
        other.cursor().execute("LOCK TABLE user_logins_inbox IN ROW EXCLUSIVE MODE")
        assert database.check() == []
    for table in ("user_logins", "user_logins_inbox", "user_logins_dead_letters"):
        assert pipeline.database.query(f"SELECT * FROM {table}") == []  # noqa: S608 - names of ours


def test_trigger_that_may_refuse_the_trial_alone_is_not_held_against_the_table(pipeline: Pipeline, body: Body) -> None:
    LoginDatabase(read_settings()).prepare()
    pipeline.database.query("ALTER TABLE user_logins ADD CHECK (user_id LIKE 'user-%')")
    pipeline.queue.send(body(user_id="user-1"))
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 1


@pytest.fixture
def _patient(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run waits for a primary, as it does outside of tests."""
    monkeypatch.setattr(preflight, "PRIMARY_SECONDS", 30)
    monkeypatch.setattr(retries, "PAUSES", (0.1, 0.2))


@pytest.mark.usefixtures("_patient")
def test_run_waits_for_a_standby_to_be_promoted_before_it_receives(pipeline: Pipeline, body: Body) -> None:
    pipeline.queue.send(body())
    with standby(pipeline.database) as primary_to_be:
        pipeline.set(LOGIN_DATABASE_URL=primary_to_be.url)
        promotion = threading.Timer(2, promote, [primary_to_be])
        promotion.start()
        run = pipeline.run()
        promotion.join()
        assert run.failures == []
        assert len(primary_to_be.logins()) == 1


@pytest.mark.usefixtures("_patient")
def test_run_that_waits_for_no_primary_any_longer_has_received_nothing(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "PRIMARY_SECONDS", 1)
    with standby(pipeline.database) as other:
        pipeline.set(LOGIN_DATABASE_URL=other.url)
        assert "takes no writes; name the primary server" in refused_by_a_run_and_by_doctor(pipeline, body, "database")


@pytest.mark.direct_database("PgBouncer tries for a while to reach a database that is not there")
@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(
    ("what", "at_once"), [("port", False), ("password", True), ("database", True), ("host", False), ("option", True)]
)
def test_person_hears_at_once_what_is_wrong_with_the_url_and_a_run_waits_for_what_may_pass(
    pipeline: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch, what: str, at_once: bool
) -> None:
    monkeypatch.setattr(preflight, "PRIMARY_SECONDS", 3)
    url, parts = pipeline.database.url, urlsplit(pipeline.database.url)
    wrong = {
        "port": url.replace(f":{parts.port}/", f":{free_port()}/"),
        "password": url.replace(f":{parts.password}@", ":wrong@"),
        "database": f"{url}_wrong",
        "host": url.replace(HOST, "wrong.invalid"),
        "option": f"{url}?sslmode=wrong",
    }
    pipeline.set(LOGIN_DATABASE_URL=wrong[what])
    started = time.monotonic()
    assert command("drain")[0] == 2
    assert {each.subject for each in examine() if not each.well} >= {"database"}
    asked = time.monotonic()
    assert len(pipeline.run().failures) == 1
    ran = time.monotonic()
    assert asked - started < 2
    assert (ran - asked < 2) is at_once
