"""Moves messages to the dead-letter queue: recorded, sent, committed, then deleted from the login queue.

What cannot be recorded is not sent. SQS has no transaction over two queues: a crash between the sending and the COMMIT
puts a message there twice, each time with its first id, by which a redrive makes one login of it. Once the record is
committed, it is only deleted.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Timer

import pandas as pd

from login_pipeline.errors import DatabaseError, QueueError
from login_pipeline.logins.reasons import OF_A_CLOSED_DATE
from login_pipeline.logs.setup import Log
from login_pipeline.postgres.copy import MAX_CREDIBLE_REFUSALS
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline.postgres.errors import OF_THE_ROW, OF_THE_TABLE
from login_pipeline.postgres.retries import retried
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.batches import NOT_ATTEMPTED
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import dead_letter
from login_pipeline.sqs.transport.client import ENTRY_FAULTS

# Maximum messages in one transaction, which is open while they are sent. At most so many are sent a second time after
# `kill -9`.
MAX_LETTERS = 500
# How long calls to send them are begun: the transaction ends before the database gives it up, however slow SQS is.
SEND_SECONDS = 60.0
# Message ids in one sentence.
MAX_NAMED = 5
# Where the same messages are refused again: after so many deliveries they are taken to be wrong after all.
DELIVERIES = 5


@dataclass
class QuarantineFigures:
    """How many messages were put on the dead-letter queue so far, and how many are off the login queue.

    Some were put there before. What stays on the login queue is in `not_sent`, with SQS's error code by sqs_message_id,
    and in `not_deleted`, counted by code.
    """

    messages: int = 0
    deleted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    not_sent: dict[str, str] = field(default_factory=dict)
    not_deleted: Counter[str] = field(default_factory=Counter)


def quarantine(
    rejected: pd.DataFrame,
    queues: LoginQueues,
    database: LoginDatabase,
    log: Log,
    figures: QuarantineFigures,
) -> None:
    """Moves messages that cannot be rows, each once, however often SQS delivers it: MAX_LETTERS at a time.

    A signal, or the end of the time that the run has, stops it after what is under way. Until then what the database
    cuts off is tried again, and sent again where its record is lost. `rejected` has the columns of raw_sqs_messages and
    the `reason`. What was done is added to `figures`, also when an error ends it.

    Raises:
        RunError: no time is left.
        DatabaseError: some cannot be recorded, and stay on the login queue.
        QueueError: SQS refused to take one, or to delete any.
    """
    for first in range(0, len(rejected), MAX_LETTERS):
        piece = rejected[first : first + MAX_LETTERS]
        move = partial(_move, piece, queues, database, log, figures)
        if not retried(move, seconds=queues.seconds_to_load()):
            rest = rejected[first + len(piece) :]
            figures.not_sent |= dict.fromkeys(rest["sqs_message_id"], NOT_ATTEMPTED)
            break
    _require_all_moved(figures)


def _move(
    piece: pd.DataFrame,
    queues: LoginQueues,
    database: LoginDatabase,
    log: Log,
    figures: QuarantineFigures,
) -> bool:
    """Records, sends, commits and deletes; False where SQS took none, and not because of what is in them."""
    ids = piece["sqs_message_id"]
    letters = zip(ids, map(Letter, piece["message_id"], piece["reason"]), strict=True)
    stop = Event()
    # From the first letter on a signal waits: what is sent is recorded and deleted.
    with database.record_dead_letters(dict(letters)) as record, deferred_interrupts(stop.set):
        new = piece[ids.isin(record.new)]
        timer = Timer(SEND_SECONDS, stop.set)
        timer.start()
        try:
            codes = queues.dead_letter_queue.send(_dead_letters(new), stop)
        finally:
            timer.cancel()
        not_sent = new.iloc[list(codes)]
        record.commit(not_sent["sqs_message_id"].tolist())
        there = piece.drop(index=not_sent.index)
        not_deleted = queues.login_queue.delete(there["receipt_handle"])
        sent = new.drop(index=not_sent.index)
        figures.messages += len(sent)
        figures.deleted += len(there) - sum(not_deleted.values())
        figures.reasons.update(sent["reason"])
        figures.not_sent |= dict(zip(not_sent["sqs_message_id"], codes.values(), strict=True))
        figures.not_deleted.update(not_deleted)
        for message_id, reason in zip(sent["message_id"], sent["reason"], strict=True):
            log.info("quarantined", message_id=message_id, reason=reason)
    return len(codes) < len(piece) or not ENTRY_FAULTS.isdisjoint(codes.values())


def credible(refused: Mapping[str, str], believed: Collection[str], *, taken: bool) -> dict[str, str]:
    """Those of the rows that the database refused which are taken to be wrong themselves.

    Each, where another row of the run was taken. Where none was, those that were delivered often enough, since a
    trigger or a constraint may refuse every row until it is corrected; and a few whose condition names a wrong value.
    Where the condition is the table's, those that were delivered often enough, unless many are refused and none was
    taken. `refused` has the reasons by message_id, `believed` the message_ids that were delivered DELIVERIES times.
    """
    few = sum(reason not in OF_A_CLOSED_DATE for reason in refused.values()) <= MAX_CREDIBLE_REFUSALS
    return {
        message_id: reason
        for message_id, reason in refused.items()
        if reason in OF_A_CLOSED_DATE
        or (
            (message_id in believed and (taken or few))
            if (condition := reason.removeprefix("refused.")) in OF_THE_TABLE
            else (taken or message_id in believed or (few and condition in OF_THE_ROW))
        )
    }


def require_taken(refused: Mapping[str, str], moved: Mapping[str, str]) -> None:
    """Returns when all that was refused was moved.

    Raises:
        DatabaseError: the table is taken to be wrong.
    """
    left = {message_id: reason for message_id, reason in refused.items() if message_id not in moved}
    if not left:
        return
    reasons = set(left.values())
    conditions = {reason.removeprefix("refused.") for reason in reasons}
    advice = [remedy for condition, remedy in OF_THE_TABLE.items() if condition in conditions]
    if conditions - OF_THE_TABLE.keys():
        advice.append("correct its trigger or constraint")
    raise DatabaseError(
        f"PostgreSQL refused {len(left)} rows ({', '.join(sorted(reasons))}); table user_logins is taken to be wrong, "
        f"and their messages, with those not tried yet, go back to the queue; {'; '.join(advice)}, or "
        f"they are moved to the dead-letter queue when they have been delivered {DELIVERIES} times"
    )


def _require_all_moved(moved: QuarantineFigures) -> None:
    """Returns when every message was sent, and not all of them had to stay on the login queue all the same.

    Raises:
        QueueError: SQS refused to take one, or to delete any.
    """
    if moved.not_deleted and not moved.deleted:
        raise QueueError(
            f"SQS deleted none of {sum(moved.not_deleted.values())} messages that are on the dead-letter queue "
            f"({', '.join(moved.not_deleted)}); where they are delivered again they are not sent there again; check "
            "LOGIN_QUEUE_URL, the permission sqs:DeleteMessage and the network"
        )
    if not moved.not_sent:
        return
    codes = ", ".join(dict.fromkeys(moved.not_sent.values()))
    advice = []
    if unfit := [message_id for message_id, code in moved.not_sent.items() if code in ENTRY_FAULTS]:
        named = ", ".join(unfit[:MAX_NAMED]) + (f" and {len(unfit) - MAX_NAMED} more" if len(unfit) > MAX_NAMED else "")
        advice.append(
            f"it does not take {named}, most likely because the attributes that say why make them too large: raise the "
            "MaximumMessageSize of LOGIN_DEAD_LETTER_QUEUE_URL, and where that is 1 MiB already delete them by hand"
        )
    if len(unfit) < len(moved.not_sent):
        advice.append("check LOGIN_DEAD_LETTER_QUEUE_URL and the permission sqs:SendMessage")
    raise QueueError(
        f"{len(moved.not_sent)} messages could not be moved to the dead-letter queue ({codes}) and stay on the login "
        f"queue; {'; '.join(advice)}"
    )


def _dead_letters(rejected: pd.DataFrame) -> list[dict[str, object]]:
    columns = (rejected[name] for name in ("message_id", "sent_timestamp", "body", "attributes", "reason"))
    return [dead_letter(*message) for message in zip(*columns, strict=True)]
