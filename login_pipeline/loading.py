"""Loads a batch of masked logins, some at a time: committed, and only then deleted from the queue."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from login_pipeline.columns import NAMES
from login_pipeline.login_batch import refused_messages
from login_pipeline.quarantine import quarantine, require_all_sent, require_credible
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.sqs import LoginQueueResource

ROWS_PER_TRANSACTION = 5_000
"""So a load that is slow gets somewhere: what is committed is deleted, and only the rest is delivered again."""


@dataclass
class LoadFigures:
    """What was done so far, in messages; what could not be deleted by SQS's error code."""

    loaded: int = 0
    duplicates: int = 0
    quarantined: int = 0
    deleted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    not_deleted: Counter[str] = field(default_factory=Counter)

    def metadata(self) -> dict[str, Any]:
        """The figures as Dagster shows them."""
        counts = {name: getattr(self, name) for name in ("loaded", "duplicates", "quarantined", "deleted")}
        return {**counts, "reasons": dict(self.reasons)}


def chunks(masked: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The logins in parts that are loaded in one transaction each."""
    for first in range(0, len(masked), ROWS_PER_TRANSACTION):
        yield masked[first : first + ROWS_PER_TRANSACTION]


def load_chunk(
    chunk: pd.DataFrame,
    raw: pd.DataFrame,
    database: LoginDatabaseResource,
    queue: LoginQueueResource,
    figures: LoadFigures,
) -> None:
    """Loads the chunk, then deletes its messages; those that the database refuses go to the dead-letter queue.

    Args:
        chunk: Some of masked_logins.
        raw: raw_sqs_messages, whose bodies the dead-letter queue gets.
        database: Where they are loaded.
        queue: Where they are in hand.
        figures: What was done is added to these, also when an error ends it.

    Raises:
        RunError: no time is left.
        DatabaseError: nothing of the chunk was loaded.
        QueueError: refused rows could not be moved, and stay on the queue.
    """
    rows = chunk[[*NAMES, "message_id"]].itertuples(index=False, name=None)
    loaded = database.load(rows, seconds=queue.seconds_to_load())
    figures.loaded += loaded.rows
    figures.duplicates += loaded.duplicates
    has_its_row = ~chunk["message_id"].isin(list(loaded.refused))
    not_deleted = queue.delete(chunk.loc[has_its_row, "receipt_handle"])
    figures.not_deleted.update(not_deleted)
    figures.deleted += int(has_its_row.sum()) - sum(not_deleted.values())
    if loaded.refused:
        require_credible(loaded, raw)
        moved = quarantine(refused_messages(raw, loaded.refused), queue, database)
        figures.quarantined += moved.messages
        figures.deleted += moved.deleted
        figures.reasons.update(moved.reasons)
        require_all_sent(moved)
