"""Loads a batch of masked logins, some at a time: committed, and only then deleted from the queue."""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Self

import pandas as pd

from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.ingest.quarantine import DELIVERIES, QuarantineFigures, credible, quarantine, require_taken
from login_pipeline.logins.columns import NAMES
from login_pipeline.logins.transform import refused_messages
from login_pipeline.logs.setup import Log
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.signals import deferred_interrupts
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import SqsQueue

# Rows in the first transaction and in the largest one, and how much larger the next one may be.
FIRST_ROWS, MAX_ROWS, GROWTH = 10, 5_000, 10
# What a transaction may take of the time that is left, at the speed of the one before.
PART_OF_THE_TIME = 0.25


@dataclass
class LoadFigures:
    """What was done so far, in messages; what could not be deleted by SQS's error code.

    `erased` were sent before their user was erased, and get no row. `deleted` and `not_deleted` are these, and those
    that have their row; `moved` are the refused ones. `commits` has for each transaction the message_id of one of its
    rows, and how many were inserted: by it a loss shows later.
    """

    loaded: int = 0
    duplicates: int = 0
    erased: int = 0
    deleted: int = 0
    not_deleted: Counter[str] = field(default_factory=Counter)
    moved: QuarantineFigures = field(default_factory=QuarantineFigures)
    commits: list[tuple[str, int]] = field(default_factory=list)


class BatchLoader:
    """Loads one batch: some rows in each transaction, so that a slow database gets somewhere all the same.

    What is committed is deleted at once, while the next rows are loaded; only the rest is delivered again when the
    time is up. Else a load that is too slow would be tried again and again, until the queue's redrive policy took its
    messages for bad ones. What was done is added to the figures, also when an error ends it.
    """

    def __init__(self, database: LoginDatabase, queues: LoginQueues, log: Log, figures: LoadFigures) -> None:
        self._database = database
        self._queues = queues
        self._log = log
        self._figures = figures

    @no_cycle_collection()
    def load(self, masked: pd.DataFrame, raw: pd.DataFrame) -> None:
        """Loads the rows of masked_logins, deletes their messages, and moves those that only the database refuses.

        The dead-letter queue gets their bodies from raw_sqs_messages.

        Raises:
            RunError: no time is left.
            DatabaseError: nothing of the rest was loaded.
            QueueError: refused rows could not be moved, and stay on the queue.
        """
        first, size = 0, FIRST_ROWS
        refused: dict[str, str] = {}
        sent = dict(zip(raw["message_id"].tolist(), raw["sent_timestamp"].tolist(), strict=True))
        believed = _delivered_often(raw, self._queues.login_queue.max_receive_count)
        with BackgroundDeleter(self._queues.login_queue, self._figures) as deleter:
            while first < len(masked):
                started = time.monotonic()
                loaded = self._load_chunk(masked[first : first + size], deleter, believed, sent)
                refused |= loaded.refused
                if loaded.not_tried:
                    break
                first += size
                if first < len(masked):
                    size = next_size(size, time.monotonic() - started, self._queues.seconds_to_load())
        wrong = credible(refused, believed, taken=self._figures.loaded > 0)
        quarantine(refused_messages(raw, wrong), self._queues, self._database, self._log, self._figures.moved)
        require_taken(refused, wrong)

    def _load_chunk(
        self, chunk: pd.DataFrame, deleter: "BackgroundDeleter", believed: Collection[str], sent: Mapping[str, int]
    ) -> Loaded:
        """Loads the chunk, then has the messages deleted that have their row, or are to have none."""
        rows = zip(*(chunk[name].tolist() for name in (*NAMES, "message_id")), strict=True)
        loaded = self._database.load(
            rows, seconds=self._queues.seconds_to_load(), believed=None if self._figures.loaded else believed, sent=sent
        )
        self._figures.loaded += loaded.rows
        self._figures.duplicates += loaded.duplicates
        self._figures.erased += len(loaded.erased)
        self._log.info(
            "loaded",
            loaded=loaded.rows,
            duplicates=loaded.duplicates,
            refused=len(loaded.refused),
            erased=len(loaded.erased),
        )
        done = ~chunk["message_id"].isin([*loaded.refused, *loaded.not_tried])
        if loaded.rows:
            has_its_row = done & ~chunk["message_id"].isin(list(loaded.erased))
            self._figures.commits.append((chunk.loc[has_its_row, "message_id"].iloc[0], loaded.rows))
        deleter.start(chunk.loc[done, "receipt_handle"].tolist())
        return loaded


def _delivered_often(raw: pd.DataFrame, max_receive_count: int | None) -> set[str]:
    """The message_ids of raw_sqs_messages that were delivered so often that a refusal is taken to be theirs.

    After `max_receive_count` deliveries SQS would move them itself, without a reason.
    """
    enough = min(DELIVERIES, max_receive_count or DELIVERIES)
    return set(raw.loc[raw["receive_count"] >= enough, "message_id"])


def next_size(size: int, seconds: float, seconds_left: float) -> int:
    """How many rows to load after `size` rows took so many `seconds`, with so much time left."""
    at_this_speed = size / max(seconds, 0.001) * seconds_left * PART_OF_THE_TIME
    return max(1, min(size * GROWTH, MAX_ROWS, int(at_this_speed)))


class BackgroundDeleter:
    """The deletes of the rows that were committed last, beside the load of the next ones.

    They are waited for where it is left; where an interrupt ends it, only the calls that are under way.
    """

    def __init__(self, queue: SqsQueue, figures: LoadFigures) -> None:
        self._queue = queue
        self._figures = figures
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deletes")
        self._stop = Event()
        self._under_way: tuple[int, Future[dict[str, int]]] | None = None

    def start(self, receipt_handles: Sequence[str]) -> None:
        """Deletes these messages, once those before are."""
        self._wait()
        self._under_way = len(receipt_handles), self._thread.submit(self._queue.delete, receipt_handles, self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self._stop.set()
        with deferred_interrupts(self._stop.set):
            self._wait()
            self._thread.shutdown()

    def _wait(self) -> None:
        if self._under_way is None:
            return
        (messages, deleted), self._under_way = self._under_way, None
        not_deleted = deleted.result()
        self._figures.not_deleted.update(not_deleted)
        self._figures.deleted += messages - sum(not_deleted.values())
