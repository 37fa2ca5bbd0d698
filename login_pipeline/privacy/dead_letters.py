"""Deletes the messages of erased users from the dead-letter queue."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from login_pipeline.logins.event import LoginEvent, parse_login
from login_pipeline.settings import IN_FLIGHT_BUDGET, Settings
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import Message

# Messages that are received before those of the users are deleted.
AT_ONCE = 1_000
# What a body that is no login has for its user_id, also one that was cut short or that has it twice.
_USER_ID = re.compile(r'"user_id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')


@dataclass
class DeadLetters:
    """How many were looked at and how many of them deleted; `not_deleted` by SQS's error code.

    Not `complete`: so many were left, and are invisible, that SQS would deliver no more. `in_flight` were in another
    consumer's hands, such as a redrive.
    """

    examined: int = 0
    deleted: int = 0
    complete: bool = False
    in_flight: int = 0
    not_deleted: Counter[str] = field(default_factory=Counter)

    def problems(self, settings: Settings) -> Iterator[str]:
        """What is left to do, a sentence each."""
        if self.not_deleted:
            yield (
                f"SQS did not delete {self.not_deleted.total()} messages of these users from the dead-letter queue "
                f"({', '.join(self.not_deleted)}); allow sqs:DeleteMessage and run the same command again"
            )
        if self.in_flight:
            yield (
                f"{self.in_flight} messages on the dead-letter queue were in flight, such as those of a redrive; they "
                f"are visible again within {settings.visibility_timeout} s; run the same command again then"
            )
        if not self.complete:
            yield (
                "There are more messages on the dead-letter queue than SQS keeps in flight, and the rest was not "
                "looked at; redrive, and run the same command again"
            )


def delete_dead_letters(settings: Settings, user_ids: Collection[str]) -> DeadLetters:
    """Deletes those that name one of the users as their user_id, in an envelope or without; the others stay.

    Raises:
        ConfigurationError: the queue cannot be used.
        QueueError: SQS refused.
    """
    done, seen, users = DeadLetters(), set[str](), frozenset(user_ids)
    queue = LoginQueues(settings).dead_letter_queue
    done.in_flight = queue.depth().in_flight
    try:
        while not done.complete and queue.held < IN_FLIGHT_BUDGET:
            messages, done.complete = queue.receive(AT_ONCE)
            seen.update(message.sqs_message_id for message in messages)
            theirs = [each.receipt_handle for each in messages if not users.isdisjoint(_user_ids(each))]
            not_deleted = queue.delete(theirs)
            done.deleted += len(theirs) - sum(not_deleted.values())
            done.not_deleted.update(not_deleted)
    finally:
        done.examined = len(seen)
        with deferred_interrupts():
            queue.release(lambda _receive_count: 0)
    return done


def _user_ids(message: Message) -> Iterator[str]:
    login = parse_login(message.content)
    if isinstance(login, LoginEvent):
        yield login.user_id
    for written in _USER_ID.findall(f"{message.content}\n{message.body}"):
        with suppress(ValueError):
            yield str(json.loads(written))
