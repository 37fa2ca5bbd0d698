"""The record of dead letters: inserted before they are sent and committed afterwards, in one transaction."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from psycopg2 import extensions

from login_pipeline.errors import DatabaseError
from login_pipeline.postgres import statements
from login_pipeline.postgres.session import InterruptibleCursor

# How long a statement may take: it waits for nothing but another run that sends the same messages.
STATEMENT_SECONDS = 10.0
# How long the transaction may wait for SQS. A sender that is gone keeps its messages from the next run for as long.
IDLE_SECONDS = 600.0


class Letter(NamedTuple):
    """What is recorded of a dead letter."""

    message_id: str
    reason: str


class DeadLetterRecord:
    """The records of some letters, by the sqs_message_id of the sending, in a transaction that waits for `commit`.

    Only those in `new` are to be sent: the others were recorded before.
    """

    def __init__(self, cursor: InterruptibleCursor, letters: Mapping[str, Letter]) -> None:
        self._cursor = cursor
        self._letters = letters
        self._limit_time()
        cursor.execute(statements.dead_letters.savepoint)
        self.new = record(cursor, letters)

    def commit(self, not_sent: Collection[str]) -> None:
        """Keeps the records of all of `new` that were sent."""
        self._limit_time()
        if not_sent:
            self._cursor.execute(statements.dead_letters.undo)
            if sent := {sending: self._letters[sending] for sending in self.new.difference(not_sent)}:
                record(self._cursor, sent)
        self._cursor.connection.commit()

    def _limit_time(self) -> None:
        self._cursor.limit_time(STATEMENT_SECONDS, idle_seconds=IDLE_SECONDS)


def record(cursor: extensions.cursor, letters: Mapping[str, Letter]) -> set[str]:
    """Which of the letters were not recorded before. Now all are, and can be read, or else it raises."""
    cursor.execute(
        statements.dead_letters.record,
        {
            "sqs_message_ids": [*letters],
            "message_ids": [letter.message_id for letter in letters.values()],
            "reasons": [letter.reason for letter in letters.values()],
        },
    )
    new = {sqs_message_id for (sqs_message_id,) in cursor.fetchall()}
    cursor.execute(statements.dead_letters.known, {"sqs_message_ids": [*letters]})
    if missing := letters.keys() - {sqs_message_id for (sqs_message_id,) in cursor.fetchall()}:
        raise DatabaseError(
            f"Table user_logins_dead_letters does not keep, or does not show, the records of {len(missing)} messages, "
            "which stay on the login queue; look for a trigger, a rule or row-level security on that table"
        )
    return new
