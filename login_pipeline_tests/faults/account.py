"""Where each message of a test is: in the table, on the dead-letter queue, or on the queue."""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from login_pipeline.cli.runs import Run
from login_pipeline_tests.conftest import Pipeline, Queue

# Runs after which what a fault left behind must be drained, each of a whole batch.
RUNS_TO_DRAIN = 5


@dataclass
class Account:
    """The messages that a test sent, each with a user of its own, and what became of each."""

    pipeline: Pipeline
    body: Callable[..., str]
    # The user_id of each valid message, by its id.
    logins: dict[str, str] = field(default_factory=dict)
    # The ids of the messages that belong on the dead-letter queue.
    malformed: set[str] = field(default_factory=set)

    def send(self, logins: int, malformed: int = 0) -> None:
        """Sends so many valid messages and so many malformed ones, of one batch with those before."""
        for number in range(logins):
            user = f"user-{uuid.uuid4()}"
            ip, device = f"2001:db8::{number + 1:x}", f"device-of-{user}"
            (message,) = self.pipeline.queue.send(self.body(user_id=user, ip=ip, device_id=device))
            self.logins[message] = user
        self.malformed.update(self.pipeline.queue.send(*(f'{{"device-of-user-{n}": 1' for n in range(malformed))))
        self.pipeline.set(LOGIN_BATCH_SIZE=len(self.logins) + len(self.malformed))

    def rows(self) -> Counter[str]:
        """How many rows each message has, by its id."""
        messages = {user: message for message, user in self.logins.items()}
        if self.pipeline.database.query("SELECT to_regclass('user_logins')") == [(None,)]:
            return Counter()
        return Counter(messages[user] for (user, *_) in self.pipeline.database.logins())

    def letters(self) -> Counter[str]:
        """How often each message is on the dead-letter queue, by its id. It stays there."""
        messages = peek(self.pipeline.dead_letter_queue)
        return Counter(message["MessageAttributes"]["original_message_id"]["StringValue"] for message in messages)

    def on_queue(self) -> Counter[str]:
        """The messages that can be received now, by their id. They stay there, delivered once more."""
        return Counter(message["MessageId"] for message in peek(self.pipeline.queue))

    def assert_nothing_is_lost(self) -> None:
        """Each message is in one place at least, none has two rows, and none waits for its visibility timeout."""
        rows, letters, on_queue = self.rows(), self.letters(), self.on_queue()
        assert sum(on_queue.values()) == self.pipeline.queue.count(), "messages wait for their visibility timeout"
        assert {*rows, *letters, *on_queue} == {*self.logins, *self.malformed}
        assert rows == Counter(list(rows)), "a message has two rows"
        assert not {*rows} & self.malformed
        assert not {*letters} & {*self.logins}

    def assert_settled(self, *, letters_twice: bool = False) -> None:
        """Each valid message has one row, each malformed one a dead letter, and the queue is empty."""
        assert self.pipeline.queue.count() == 0
        assert self.rows() == Counter(list(self.logins))
        letters = self.letters()
        assert {*letters} == self.malformed
        assert letters_twice or letters == Counter(list(letters)), "a dead letter was sent twice"
        self.assert_no_personal_data()

    def assert_no_personal_data(self) -> None:
        """What Dagster keeps, and the table, have neither an ip nor a device id."""
        assert_no_personal_data(*stored(self.pipeline.instance))
        assert_no_personal_data(*(str(row[1:]) for row in self.pipeline.database.logins()))

    def drain(self) -> list[Run]:
        """Runs login_job, as the sensor does, until nothing is left; the last run has no failure."""
        runs = [self.pipeline.run()]
        while self.pipeline.queue.count():
            assert len(runs) < RUNS_TO_DRAIN, runs[-1].failures
            runs.append(self.pipeline.run())
        assert runs[-1].failures == []
        return runs


def stored(instance: dg.DagsterInstance) -> list[str]:
    """All that Dagster keeps of its runs."""
    return [str(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]


def assert_no_personal_data(*texts: str) -> None:
    """None of the texts has an ip or a device id of a message that an Account sent."""
    assert not [text for text in texts if "2001:db8:" in text or "device-of-user" in text]


def one_sentence(run: Run) -> str:
    """The sentence with which the run failed: one step, one line."""
    (sentence,) = run.failures
    assert "\n" not in sentence
    assert "2001:db8:" not in sentence
    assert not sentence.startswith("Step ")  # one that nobody foresaw
    return sentence


def peek(queue: Queue) -> list[dict[str, Any]]:
    """The messages that can be received now; they stay on the queue."""
    seen: list[dict[str, Any]] = []
    while messages := queue.client.receive_message(
        QueueUrl=queue.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=60
    ).get("Messages", []):
        seen += [dict(message) for message in messages]
    for message in seen:
        queue.client.change_message_visibility(
            QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    return seen
