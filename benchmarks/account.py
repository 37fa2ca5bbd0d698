"""Whether a run came to the right end: a fast wrong answer counts as failed."""

from typing import NamedTuple

import psycopg2
from psycopg2 import sql

from benchmarks.messages import Sent
from benchmarks.queues import Left

TABLE, INBOX = "user_logins", "user_logins_inbox"


class Outcome(NamedTuple):
    """What is in the database and on the queues after a run; `inbox` is None for a contender that has none."""

    rows: int
    users: int
    inbox: int | None
    on_queue: int
    on_dead_letter_queue: int


def outcome(database_url: str, left: Left, *, with_inbox: bool) -> Outcome:
    """Reads all of the table."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT count(*), count(DISTINCT user_id) FROM {}").format(sql.Identifier(TABLE)))
            rows, users = cursor.fetchone() or (0, 0)
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(INBOX)))
            (keys,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    return Outcome(rows, users, keys if with_inbox else None, *left)


def rows(database_url: str) -> int:
    """How many logins have their row by now."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(TABLE)))
            (count,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    return int(count)


def problems(found: Outcome, sent: Sent, *, keeps_rejects: bool) -> list[str]:
    """In what the outcome disagrees with what was sent; nothing where all of it is right.

    Each login is of another user, so a login that is lost and another that is there twice do not make up for each
    other.

    Args:
        found: After the run.
        sent: Before it.
        keeps_rejects: Whether the contender moves what is no login to the dead-letter queue.
    """
    rejects = sent.malformed if keeps_rejects else 0
    facts = {
        f"{found.rows} rows instead of {sent.logins}": found.rows == sent.logins,
        f"{sent.logins - found.users} logins lost": found.users == sent.logins,
        f"{found.rows - found.users} rows twice": found.rows == found.users,
        f"{found.inbox} keys in the inbox instead of {sent.logins}": found.inbox in (None, sent.logins),
        f"{found.on_queue} messages not deleted": found.on_queue == 0,
        f"{found.on_dead_letter_queue} dead letters instead of {rejects}": found.on_dead_letter_queue == rejects,
    }
    return [fact for fact, right in facts.items() if not right]
