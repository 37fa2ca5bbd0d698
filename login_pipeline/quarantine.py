"""Moves messages to the dead-letter queue: sent, then recorded, then deleted from the login queue.

SQS has no transaction over two queues. A crash between sending and recording puts a message there twice, each
time with its first id, by which a redrive makes one login of it. Once it is recorded, it is only deleted.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd

from login_pipeline.errors import DatabaseError, QueueError
from login_pipeline.interrupts import deferred_interrupts
from login_pipeline.logs import Log
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.postgres_errors import NO_PARTITION, OF_THE_ROW, OF_THE_TABLE
from login_pipeline.resources.postgres_load import FORGOTTEN, MAX_CREDIBLE_REFUSALS
from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline.resources.sqs_messages import dead_letter

DELIVERIES = 5
"""Where the same messages are refused again: after so many deliveries they are taken to be wrong after all."""
# What to do about conditions that are the table's.
_REMEDIES = {
    f"refused.{NO_PARTITION}": "create the partition for their create_date",
    "refused.insufficient_privilege": "grant the role what it needs, or change the row-level security policy",
}


class Quarantined(NamedTuple):
    """Messages that were put on the dead-letter queue, and how many are off the login queue: some were put before.

    `not_sent` and `not_deleted` are those that stay on the login queue, by SQS's error code.
    """

    messages: int
    deleted: int
    reasons: dict[str, int]
    not_sent: dict[str, int]
    not_deleted: dict[str, int]

    def metadata(self) -> dict[str, Any]:
        """The figures as Dagster shows them."""
        return {"dagster/row_count": self.messages, "reasons": self.reasons, "deleted": self.deleted}


def quarantine(
    rejected: pd.DataFrame, queue: LoginQueueResource, database: LoginDatabaseResource, log: Log
) -> Quarantined:
    """Moves the messages, each once, however often SQS delivers it.

    Args:
        rejected: What raw_sqs_messages has, and the `reason`, a row a message.
        queue: Where they are in hand.
        database: Where it is recorded that they are moved.
        log: Where each of them is told.

    Raises:
        DatabaseError: what was sent is not recorded, and not deleted either.
    """
    with deferred_interrupts():  # what is sent is deleted, too; else it would be sent again
        moved_before = rejected["sqs_message_id"].isin(database.dead_letters_among(rejected["sqs_message_id"].tolist()))
        new = rejected[~moved_before]
        not_sent = queue.send_dead_letters(_dead_letters(new))
        sent = new.drop(index=new.index[list(not_sent)])
        database.record_dead_letters(*(sent[name].tolist() for name in ("sqs_message_id", "message_id", "reason")))
        there = pd.concat([rejected[moved_before], sent])
        not_deleted = queue.delete(there["receipt_handle"])
    for message_id, reason in zip(sent["message_id"], sent["reason"], strict=True):
        log.info("quarantined", message_id=message_id, reason=reason)
    return Quarantined(
        messages=len(sent),
        deleted=len(there) - sum(not_deleted.values()),
        reasons=dict(Counter(sent["reason"])),
        not_sent=dict(Counter(not_sent.values())),
        not_deleted=not_deleted,
    )


def enough_deliveries(raw: pd.DataFrame, max_receive_count: int | None) -> set[str]:
    """The message_ids that were delivered so often that a refusal is taken to be theirs.

    Args:
        raw: raw_sqs_messages.
        max_receive_count: After so many deliveries SQS would move them itself, without a reason.
    """
    enough = min(DELIVERIES, max_receive_count or DELIVERIES)
    return set(raw.loc[raw["receive_count"] >= enough, "message_id"])


def credible(refused: Mapping[str, str], believed: Collection[str], *, taken: bool) -> dict[str, str]:
    """Those of the rows that the database refused which are taken to be wrong themselves.

    Never where the condition is the table's. Otherwise each, where another row of the run was taken. Where none was,
    those that were delivered often enough, since a trigger or a constraint may refuse every row until it is corrected;
    and a few whose condition names a wrong value.

    Args:
        refused: The reasons, by message_id.
        believed: What `enough_deliveries` has.
        taken: Whether the run loaded another row.
    """
    few = sum(reason != FORGOTTEN for reason in refused.values()) <= MAX_CREDIBLE_REFUSALS
    return {
        message_id: reason
        for message_id, reason in refused.items()
        if reason == FORGOTTEN
        or (
            (condition := reason.removeprefix("refused.")) not in OF_THE_TABLE
            and (taken or message_id in believed or (few and condition in OF_THE_ROW))
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
    advice = [remedy for reason, remedy in _REMEDIES.items() if reason in reasons]
    if reasons - _REMEDIES.keys():
        advice.append(
            "correct its trigger or constraint, or they are moved to the dead-letter queue when they have been "
            f"delivered {DELIVERIES} times"
        )
    raise DatabaseError(
        f"PostgreSQL refused {len(left)} rows ({', '.join(sorted(reasons))}); table user_logins is taken to be wrong, "
        f"and their messages, with those not tried yet, go back to the queue; {'; '.join(advice)}"
    )


def require_all_sent(moved: Quarantined) -> None:
    """Returns when every message was sent, and not all of them had to stay on the login queue all the same.

    Raises:
        QueueError: SQS refused to take one, or to delete any.
    """
    if moved.not_deleted and not moved.deleted:
        raise QueueError(
            f"SQS deleted none of {sum(moved.not_deleted.values())} messages that are on the dead-letter queue "
            f"({', '.join(moved.not_deleted)}); where they are delivered again they are not sent there again; check "
            "LOGIN_QUEUE_URL, the permission sqs:DeleteMessage and the network",
            moved.metadata(),
        )
    if moved.not_sent:
        raise QueueError(
            f"{sum(moved.not_sent.values())} messages could not be moved to the dead-letter queue "
            f"({', '.join(moved.not_sent)}) and stay on the login queue; check LOGIN_DEAD_LETTER_QUEUE_URL and the "
            "permission sqs:SendMessage",
            moved.metadata(),
        )


def _dead_letters(rejected: pd.DataFrame) -> list[dict[str, object]]:
    columns = (rejected[name] for name in ("message_id", "sent_timestamp", "body", "attributes", "reason"))
    return [dead_letter(*message) for message in zip(*columns, strict=True)]
