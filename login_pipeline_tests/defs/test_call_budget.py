"""What a run asks of SQS and of PostgreSQL, counted by the servers: a regression is seen without a clock."""

from collections.abc import Iterator

import pytest

from login_pipeline.ingest.load import FIRST_ROWS, GROWTH, MAX_ROWS
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.session import InterruptibleConnection
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.sqs_server.process import QueueServer

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


def chunks(messages: int) -> int:
    """In how many transactions so many messages are loaded where nothing is slow."""
    size, number = FIRST_ROWS, 0
    while messages > 0:
        messages, size, number = messages - size, min(size * GROWTH, MAX_ROWS), number + 1
    return number


def test_run_makes_one_call_for_ten_messages(pipeline: Pipeline, backlog: QueueServer) -> None:
    assert pipeline.run().metadata["user_logins_table"]["deleted"] == MESSAGES
    counts = backlog.counts()
    assert counts.logins["received"] == MESSAGES
    assert counts.logins["receives_with_messages"] <= MESSAGES / 10
    assert counts.calls["DeleteMessageBatch"] <= MESSAGES / 10
    assert counts.calls.keys() == {"GetQueueAttributes", "ReceiveMessage", "DeleteMessageBatch"}


def test_run_has_a_transaction_for_each_chunk(
    pipeline: Pipeline, backlog: QueueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    LoginDatabase(read_settings()).prepare()
    pipeline.database.query("INSERT INTO user_logins_inbox (message_id) VALUES ('of an earlier run')")
    commit, commits = InterruptibleConnection.commit, [0]

    def counted(connection: InterruptibleConnection) -> None:
        commits[-1] += 1
        commit(connection)

    monkeypatch.setattr(InterruptibleConnection, "commit", counted)
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == MESSAGES
    commits.append(0)
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 0
    with_messages, without = commits
    assert with_messages - without == chunks(MESSAGES)
    assert backlog.counts().logins["visible"] == 0
