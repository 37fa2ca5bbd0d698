"""Sends messages from the dead-letter queue back to the login queue, as the messages that they were.

Their first id and time go with them, so the inbox knows them, and their date does not change. Killed anywhere,
a message is on one queue or on both, and is one login all the same; run it again.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import errorcodes

from login_pipeline.logins.event import is_rejection
from login_pipeline.logins.reasons import OF_A_CLOSED_DATE, Reason
from login_pipeline.postgres.copy import SKIPPED_BY_TRIGGER
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.errors import NO_PARTITION
from login_pipeline.settings import IN_FLIGHT_BUDGET, Settings
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import Message, sent_again

# The reason of messages that the queue's own redrive policy moved: they have none.
MOVED_BY_SQS = "max_receive_count"

_CONDITIONS = {name.lower() for name in vars(errorcodes) if name.isupper()} | {NO_PARTITION, SKIPPED_BY_TRIGGER}
# A trigger can raise one that PostgreSQL has no name for. Source: PostgreSQL documentation, PL/pgSQL, RAISE.
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")

# Messages that are received before they are sent back.
AT_ONCE = 1_000


@dataclass
class Redriven:
    """What became of the messages on the dead-letter queue; `not_sent` by SQS's error code.

    Not `complete`: so many were left, and are invisible, that SQS would deliver no more. `in_flight` were in
    another consumer's hands, such as a redrive that was killed, when this one began.
    """

    examined: int = 0
    sent_back: int = 0
    loaded_before: int = 0
    left: int = 0
    complete: bool = False
    in_flight: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    not_sent: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """The figures by name, for `redrive --json`."""
        names = ("examined", "sent_back", "loaded_before", "left", "in_flight", "complete")
        return {**{name: getattr(self, name) for name in names}, "reasons": dict(self.reasons)}


def problems(done: Redriven, reason: str | None, settings: Settings) -> Iterator[str]:
    """What is left to do after a redrive, a sentence each."""
    if done.not_sent:
        yield (
            f"SQS refused {done.not_sent.total()} messages ({', '.join(done.not_sent)}), which stay on the dead-letter "
            "queue; check the permission sqs:SendMessage on LOGIN_QUEUE_URL and redrive again"
        )
    if done.in_flight:
        yield (
            f"{done.in_flight} messages on the dead-letter queue were in flight, such as those of a redrive that was "
            f"killed; they are visible again within {settings.visibility_timeout} s; redrive again then"
        )
    if not done.complete:
        yield "There are more messages on the dead-letter queue than SQS keeps in flight; redrive again"
    if reason is not None and done.examined and not done.reasons[reason]:
        yield f"No message was examined that has the reason {reason}; there are {', '.join(sorted(done.reasons))}"


def redrive(settings: Settings, reason: str | None, *, dry_run: bool) -> Redriven:
    """Sends back the messages with this reason, or all of them; deletes those that have their row already.

    A message is sent back once: one that is rejected again stays on the dead-letter queue.

    Args:
        settings: Where the queues and the database are.
        reason: Such as `malformed.ip`; `max_receive_count` for those that SQS itself moved.
        dry_run: Only counts; every message stays where it is.

    Raises:
        ConfigurationError: a queue or the database cannot be used.
        QueueError: SQS refused.
        DatabaseError: PostgreSQL refused; what was sent back is on its way.
    """
    queues, database = LoginQueues(settings), LoginDatabase(settings)
    queues.check()
    database.require_table()
    done = Redriven()
    seen: set[str] = set()
    queue = queues.dead_letter_queue
    done.in_flight = queue.depth().in_flight
    try:
        while not done.complete and queue.held < IN_FLIGHT_BUDGET:
            messages, done.complete = queue.receive(AT_ONCE)
            new = [message for message in messages if message.message_id not in seen]
            seen.update(message.message_id for message in new)
            chosen = [message for message in new if reason in (None, _reason(message))]
            done.examined += len(new)
            done.reasons.update(_reason(message) for message in new)
            if not dry_run:
                _send_back(chosen, queues, database, done)
    finally:
        done.left = queue.held
        with deferred_interrupts():
            queue.release(lambda _receive_count: 0)
    return done


def _send_back(messages: Sequence[Message], queues: LoginQueues, database: LoginDatabase, done: Redriven) -> None:
    """Deletes from the dead-letter queue only what has its row, or is on the login queue by now."""
    loaded = database.loaded_among([message.message_id for message in messages])
    to_send = [message for message in messages if message.message_id not in loaded]
    not_sent = queues.login_queue.send(
        [sent_again(each.message_id, each.sent_timestamp, each.body, each.attributes) for each in to_send]
    )
    sent = [message for place, message in enumerate(to_send) if place not in not_sent]
    known = [message for message in messages if message.message_id in loaded]
    queues.dead_letter_queue.delete(message.receipt_handle for message in [*sent, *known])
    done.sent_back += len(sent)
    done.loaded_before += len(known)
    done.not_sent.update(not_sent.values())


def _reason(message: Message) -> str:
    """A code that can be printed; any sender can write the attribute."""
    if not message.reason:
        return MOVED_BY_SQS
    return message.reason if is_reason(message.reason) else "not_a_code"


def is_reason(code: str) -> bool:
    """Whether this pipeline puts messages on the dead-letter queue with this code. Somebody else wrote any other."""
    kind, _, condition = code.partition(".")
    refused = kind == Reason.REFUSED and (condition in _CONDITIONS or _SQLSTATE.fullmatch(condition) is not None)
    return refused or is_rejection(code) or code in OF_A_CLOSED_DATE
