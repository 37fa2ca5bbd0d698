"""What a run asks of SQS and of PostgreSQL, counted by the servers: a regression is seen without a clock."""

import time
from collections.abc import Iterator

import pytest

from benchmarks.queue_server import QueueServer
from login_pipeline.loading import FIRST_ROWS, GROWTH, MOST_ROWS
from login_pipeline.settings import SqsClient
from login_pipeline_tests.conftest import Database, Pipeline

MESSAGES = 10_000


@pytest.fixture
def backlog(pipeline: Pipeline) -> Iterator[QueueServer]:
    """A server that delivers ten messages a call for as long as it has them, and counts."""
    with QueueServer(fill=MESSAGES) as server:
        pipeline.set(
            AWS_ENDPOINT_URL_SQS=server.endpoint,
            LOGIN_QUEUE_URL=server.queue_url,
            LOGIN_DEAD_LETTER_QUEUE_URL=server.dead_letter_queue_url,
        )
        yield server


def sessions_and_commits(database: Database) -> tuple[int, int]:
    """How many connections and transactions PostgreSQL has counted once the run's connections are gone."""
    while database.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'login-pipeline'"):
        time.sleep(0.05)
    ((sessions, commits),) = database.query(
        "SELECT sessions, xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )
    return sessions, commits


def chunks(messages: int) -> int:
    """In how many transactions so many messages are loaded where nothing is slow."""
    size, number = FIRST_ROWS, 0
    while messages > 0:
        messages, size, number = messages - size, min(size * GROWTH, MOST_ROWS), number + 1
    return number


@pytest.mark.parametrize("client", SqsClient)
def test_run_makes_one_call_for_ten_messages(pipeline: Pipeline, backlog: QueueServer, client: SqsClient) -> None:
    pipeline.set(LOGIN_SQS_CLIENT=client)
    assert pipeline.run().metadata["user_logins_table"]["deleted"] == MESSAGES
    counts = backlog.counts()
    assert counts.logins["received"] == MESSAGES
    assert counts.logins["receives_with_messages"] <= MESSAGES / 10
    assert counts.calls["DeleteMessageBatch"] <= MESSAGES / 10
    assert counts.calls.keys() == {"GetQueueAttributes", "ReceiveMessage", "DeleteMessageBatch"}


def test_run_has_one_connection_and_a_transaction_for_each_chunk(pipeline: Pipeline, backlog: QueueServer) -> None:
    assert pipeline.run().passed  # creates the tables, and leaves the queue empty
    before = sessions_and_commits(pipeline.database)
    assert pipeline.run().passed
    empty = sessions_and_commits(pipeline.database)
    with QueueServer(fill=MESSAGES, seed=2) as full:
        pipeline.set(
            AWS_ENDPOINT_URL_SQS=full.endpoint,
            LOGIN_QUEUE_URL=full.queue_url,
            LOGIN_DEAD_LETTER_QUEUE_URL=full.dead_letter_queue_url,
        )
        assert pipeline.run().metadata["user_logins_table"]["loaded"] == MESSAGES
    after = sessions_and_commits(pipeline.database)
    (sessions, commits), (empty_sessions, empty_commits) = (
        (later[0] - earlier[0], later[1] - earlier[1]) for earlier, later in ((empty, after), (before, empty))
    )
    assert sessions == empty_sessions
    assert commits - empty_commits == chunks(MESSAGES)
