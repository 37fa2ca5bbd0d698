"""A connection and the thread that makes its calls."""

import threading

import psycopg2
import pytest

from login_pipeline.postgres.session import InterruptibleConnection
from login_pipeline_tests.conftest import Database


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("postgres")]


def test_one_thread_makes_all_calls_and_ends_with_its_connection(database: Database) -> None:
    connection = psycopg2.connect(database.url, connection_factory=InterruptibleConnection)
    for _ in range(3):
        connection.rollback()
    (thread,) = threads()
    connection.close()
    thread.join(10)
    assert not threads()


def test_call_on_a_closed_connection_is_refused_as_psycopg2_refuses_it(database: Database) -> None:
    connection = psycopg2.connect(database.url, connection_factory=InterruptibleConnection)
    connection.close()
    with pytest.raises(psycopg2.InterfaceError, match="closed"):
        connection.commit()
