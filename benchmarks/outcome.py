"""Whether a run came to the right end: a fast wrong answer counts as failed."""

from contextlib import closing
from typing import NamedTuple

import psycopg2

from benchmarks.place import MALFORMED_MESSAGES, Place

_COUNTS = "SELECT count(*), count(DISTINCT user_id), (SELECT count(*) FROM user_logins_inbox) FROM user_logins"


class Outcome(NamedTuple):
    """What is in the database and on the queues after a run."""

    rows: int
    users: int
    inbox: int
    on_queue: int
    on_dead_letter_queue: int


def outcome(place: Place) -> Outcome:
    """Reads all of the table."""
    with closing(psycopg2.connect(place.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        rows, users, inbox = cursor.fetchone() or (0, 0, 0)
    return Outcome(rows, users, inbox, *place.left())


def problems(found: Outcome, logins: int, *, keeps_promises: bool) -> list[str]:
    """In what the outcome disagrees with what was sent; empty where all of it is right.

    Each login is of another user, so a login that is lost and another that is there twice do not make up for each
    other.

    Args:
        found: After the run.
        logins: How many were sent.
        keeps_promises: The contender has an inbox and moves malformed messages to the dead-letter queue.
    """
    rejects, inbox = (MALFORMED_MESSAGES, logins) if keeps_promises else (0, 0)
    facts = {
        f"{found.rows} rows instead of {logins}": found.rows == logins,
        f"{logins - found.users} logins lost": found.users == logins,
        f"{found.rows - found.users} rows twice": found.rows == found.users,
        f"{found.inbox} entries in the inbox instead of {inbox}": found.inbox == inbox,
        f"{found.on_queue} messages not deleted": found.on_queue == 0,
        f"{found.on_dead_letter_queue} dead letters instead of {rejects}": found.on_dead_letter_queue == rejects,
    }
    return [fact for fact, right in facts.items() if not right]
