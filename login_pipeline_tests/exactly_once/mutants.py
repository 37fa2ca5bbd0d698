"""Products that break one promise, each by what replaces what: the model must find every one out."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from login_pipeline.ingest.quarantine import quarantine
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import Letter
from login_pipeline.settings import Envelope
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import Attributes, Message, Received, sent_again
from login_pipeline.sqs.receive import Batch


class Mutant(NamedTuple):
    """What replaces what, what the model says of it, and the seed from which on it is looked for: a quick one."""

    target: str
    replacement: object
    finding: str
    first_seed: int = 1


_receive, _from_sqs = LoginQueues.receive, Message.from_sqs


def _delete_what_was_received(self: LoginQueues) -> Batch:
    batch = _receive(self)
    self.login_queue.delete(message.receipt_handle for message in batch.messages)
    return batch


def _delete_before_sending(rejected: pd.DataFrame, queues: LoginQueues, *others: Any) -> None:
    queues.login_queue.delete(rejected["receipt_handle"])
    quarantine(rejected, queues, *others)


def _delete_what_was_not_sent(rejected: pd.DataFrame, queues: LoginQueues, *others: Any) -> None:
    try:
        quarantine(rejected, queues, *others)
    finally:
        queues.login_queue.delete(rejected["receipt_handle"])


@contextmanager
def _record_nothing(_self: LoginDatabase, letters: Mapping[str, Letter]) -> Iterator[Any]:
    """As if sending and deleting were all that there is to it."""
    yield SimpleNamespace(new=set(letters), commit=lambda _not_sent: None)


_WITHOUT_INBOX = statements.load._replace(
    load="WITH inserted AS (INSERT INTO user_logins"
    " SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date"
    " FROM incoming_logins WHERE place >= %(first)s AND place < %(end)s RETURNING 1)"
    " SELECT count(*), count(*) FROM inserted"
)
_WITHOUT_EXPIRED_DATES = statements.load._replace(
    closed=statements.load.closed.replace("WHERE entry = 'expired'", "WHERE false")
)
_A_WEEK_EARLY = statements.expiry._replace(dates=statements.expiry.dates.replace("%(days)s", "(%(days)s - 7)"))
_WITH_THE_KEYS = statements.expiry._replace(
    delete=f"{statements.expiry.delete.replace('user_logins', 'user_logins_inbox')} {statements.expiry.delete}"
)
_WITHOUT_CLOSED_DATES = statements.load._replace(
    closed="SELECT message_id, false, false FROM incoming_logins WHERE false"
)


def _today(_sent_timestamp: int) -> date:
    return datetime.now(UTC).date()


def _forget_the_first_sending(cls: type[Message], received: Received, envelope: Envelope) -> Message:
    return _from_sqs(msgspec.structs.replace(received, attributes={}), envelope)


def _trust_the_table(refused: Mapping[str, str], _believed: Collection[str], *, taken: bool) -> dict[str, str]:
    return dict(refused)


def _send_as_new(_message_id: str, _sent_timestamp: int, body: str, attributes: Attributes) -> dict[str, Any]:
    return sent_again("", 0, body, attributes)


QUEUES = "login_pipeline.sqs.login_queues.LoginQueues"
RECORD = "login_pipeline.postgres.database.LoginDatabase.record_dead_letters"
FROM_SQS = "login_pipeline.sqs.queue.Message.from_sqs"
QUARANTINE = "login_pipeline.defs.assets.quarantine"
LOAD_STATEMENTS = "login_pipeline.postgres.statements.load"
EXPIRY_STATEMENTS = "login_pipeline.postgres.statements.expiry"
MUTANTS = {
    "deletes before the commit": Mutant(f"{QUEUES}.receive", _delete_what_was_received, "lost", 4),
    "deletes before the dead letter is sent": Mutant(QUARANTINE, _delete_before_sending, "lost", 4),
    "deletes what is not sent": Mutant(QUARANTINE, _delete_what_was_not_sent, "lost", 64),
    "does not record dead letters": Mutant(RECORD, _record_nothing, "a second dead letter", 62),
    "has no inbox": Mutant(LOAD_STATEMENTS, _WITHOUT_INBOX, "other rows", 12),
    "loads what is older than the inbox": Mutant(LOAD_STATEMENTS, _WITHOUT_CLOSED_DATES, "of a closed date", 6),
    "loads what has expired": Mutant(LOAD_STATEMENTS, _WITHOUT_EXPIRED_DATES, "of a closed date", 6),
    "expires a date too early": Mutant(EXPIRY_STATEMENTS, _A_WEEK_EARLY, "expires too early", 4),
    "forgets which messages had a row that expired": Mutant(EXPIRY_STATEMENTS, _WITH_THE_KEYS, "forgets a key", 6),
    "knows a copy by its own id": Mutant(FROM_SQS, classmethod(_forget_the_first_sending), "never sent|lost"),
    "dates a row by its run": Mutant("login_pipeline.logins.transform.create_date", _today, "other rows"),
    "trusts the table": Mutant("login_pipeline.ingest.load.credible", _trust_the_table, "taken to be wrong", 4),
    "redrives a message as a new one": Mutant(
        "login_pipeline.ingest.redrive.sent_again", _send_as_new, "never sent|lost"
    ),
}
