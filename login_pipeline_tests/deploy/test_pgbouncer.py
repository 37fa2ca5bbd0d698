"""What holds for many clients of one server, and only by what docs/databases.md says where PgBouncer is between."""

import os

import psycopg2
from dagster_postgres.run_storage import PostgresRunStorage
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT

from login_pipeline_tests.conftest import Database
from login_pipeline_tests.roles import roles_of


def test_suite_runs_through_pgbouncer_in_transaction_mode_where_it_is_asked_to(database: Database) -> None:
    """Two clients at once have a session each, and then a transaction gets either of them."""
    first, second = psycopg2.connect(database.url), psycopg2.connect(database.url)
    for client in (first, second):
        client.cursor().execute("SELECT")
    for client in (first, second):
        client.rollback()
    first.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    sessions = set()
    with first.cursor() as cursor:
        for _ in range(10):
            cursor.execute("SELECT pg_backend_pid()")
            sessions.update(cursor.fetchall())
    for client in (first, second):
        client.close()
    assert len(sessions) == (2 if os.environ.get("LOGIN_TEST_PGBOUNCER") else 1)


def test_time_limit_that_the_web_server_sets_for_its_sessions_reaches_no_run(database: Database) -> None:
    """PgBouncer has a pool for each login, and in deploy/postgres/create-logins.sql these two have one each."""
    with roles_of(database) as roles:
        web_server, run = roles.reader, roles.loader
        url = web_server.url.replace("postgresql://", "postgresql+psycopg2://")
        storage = PostgresRunStorage(url, should_autocreate_tables=False)
        storage.optimize_for_webserver(statement_timeout=4711, pool_recycle=3600, max_overflow=20)
        with storage.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        assert [run.query("SHOW statement_timeout") for _ in range(5)] == 5 * [[("0",)]]
