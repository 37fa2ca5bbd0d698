"""Runs that are stopped at a chosen moment, without a hook in the pipeline: by held calls and by locks."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import dagster as dg
import psycopg2

from login_pipeline.cli.runs import Run, run
from login_pipeline_tests.conftest import Database, Pipeline
from login_pipeline_tests.faults.account import assert_no_personal_data, stored
from login_pipeline_tests.faults.sqs_faults import Hold
from login_pipeline_tests.faults.sqs_proxy import SqsProxy

WAITING_LOADS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name = 'login-pipeline'
"""


@contextmanager
def background_run(pipeline: Pipeline) -> Iterator[Future[Run]]:
    """A run beside the test, which is waited for at the end. Dagster's instance in memory takes one run at a time."""
    with dg.DagsterInstance.ephemeral() as instance:
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(run, "login_job", instance)
        assert_no_personal_data(*stored(instance))


@contextmanager
def received(pipeline: Pipeline, sqs_proxy: SqsProxy) -> Iterator[Future[Run]]:
    """A run whose batch has been delivered, and which learns of it when the block is left."""
    hold = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", hold), background_run(pipeline) as begun:
        try:
            hold.wait()
            yield begun
        finally:
            hold.let_go()


@contextmanager
def loading(pipeline: Pipeline, sqs_proxy: SqsProxy) -> Iterator[Future[Run]]:
    """A run in the middle of its load: the batch is copied, and the table is locked until the block is left."""
    hold = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", hold), background_run(pipeline) as begun:
        try:
            hold.wait()
            with locked(pipeline.database):
                hold.let_go()
                wait_for(pipeline.database, WAITING_LOADS)
                yield begun
        finally:
            hold.let_go()


@contextmanager
def locked(database: Database, table: str = "user_logins", mode: str = "EXCLUSIVE") -> Iterator[None]:
    """Nobody else writes to the table; reading goes on, unless the mode is ACCESS EXCLUSIVE."""
    connection = psycopg2.connect(database.url)
    connection.cursor().execute(f"LOCK TABLE {table} IN {mode} MODE")
    try:
        yield
    finally:
        with suppress(psycopg2.Error):  # the server may have been restarted
            connection.close()


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """As when the primary of a cluster changes: its sessions end, and those that begin may not write."""
    name = urlsplit(database.url).path[1:]
    change = f'ALTER DATABASE "{name}" {{}} default_transaction_read_only'
    database.query(change.format("SET") + " = on")
    database.end_sessions()
    try:
        yield
    finally:
        database.query("SET transaction_read_only = off; " + change.format("RESET"))
        database.end_sessions()


def wait_for(database: Database, query: str, count: int = 1) -> None:
    """Returns when the query counts so many.

    Raises:
        AssertionError: it did not within half a minute.
    """
    until = time.monotonic() + 30
    while database.query(query)[0][0] < count:
        assert time.monotonic() < until, query
        time.sleep(0.02)
