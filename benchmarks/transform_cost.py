"""What a message costs between the queue and the table, by step: `python -m benchmarks.transform_cost`.

All of it is as `login_job` has it, without Dagster and SQS. `client` is this process's CPU, in microseconds a message;
`server` that of a PostgreSQL of its own, checkpoints and all, less what starting and stopping it costs.
"""

import json
import os
import resource
import secrets
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from statistics import median
from threading import Event
from types import SimpleNamespace
from typing import TypeVar, cast

import pandas as pd

from login_pipeline.ingest.load import BatchLoader, LoadFigures
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.sample_messages import sample_messages
from login_pipeline.local.services import temporary_folder
from login_pipeline.logins.quality import check_batch
from login_pipeline.logins.transform import mask_logins, raw_messages, rejected_messages
from login_pipeline.logs.setup import process_log
from login_pipeline.masking.keys import new_key
from login_pipeline.masking.methods import Masks, hmac_sha256_masks
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.message import Message

MESSAGES = 50_000
ROUNDS = 5
RECEIPT_HANDLE_BYTES = 300
"""About 400 characters, as SQS's are."""
MASKS = hmac_sha256_masks(new_key(date(2026, 1, 1)))

Answer = TypeVar("Answer")


def received(count: int) -> list[Message]:
    """Messages as a run has them in hand."""
    return [
        Message(
            ident := str(uuid.uuid4()), ident, secrets.token_urlsafe(RECEIPT_HANDLE_BYTES), 1_767_225_600_000, 1, body
        )
        for body in sample_messages(count)
    ]


class Stopwatch:
    """CPU seconds of this process, by step, a figure for each time it was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def time(self, step: str, do: Callable[[], Answer]) -> Answer:
        """What `do` gives."""
        started = time.process_time()
        answer = do()
        self.seconds.setdefault(step, []).append(time.process_time() - started)
        return answer

    def microseconds(self, messages: int) -> dict[str, float]:
        """Medians, a message."""
        return {step: round(median(each) / messages * 1e6, 2) for step, each in self.seconds.items()}


def transform(messages: Sequence[Message], masks: Masks, watch: Stopwatch) -> tuple[pd.DataFrame, pd.DataFrame]:
    """raw_sqs_messages and masked_logins, checked as a run checks them."""
    raw = watch.time("raw_messages", lambda: raw_messages(messages))
    masked = watch.time("mask_logins", lambda: mask_logins(raw, masks).logins)
    for finding in watch.time("check_batch", lambda: check_batch(raw, masked)):
        if not finding.passed:
            raise SystemExit(f"{finding.check} failed, so nothing was measured that matters")
    watch.time("rejected_messages", lambda: rejected_messages(raw, masked))
    return raw, masked


def load(raw: pd.DataFrame, masked: pd.DataFrame, watch: Stopwatch) -> float:
    """Loads into a PostgreSQL that is new; the CPU seconds of the server."""
    login_queue = SimpleNamespace(delete=_delete, max_receive_count=None)
    queues = SimpleNamespace(seconds_to_load=lambda: 600.0, login_queue=login_queue)
    before = _children()
    with temporary_folder() as folder:
        server = LocalPostgres(folder)
        os.environ["LOGIN_DATABASE_URL"] = server.url("postgres")
        database = LoginDatabase(read_settings())
        database.prepare()
        loader = BatchLoader(database, cast("LoginQueues", queues), process_log(), LoadFigures())
        watch.time("BatchLoader.load", lambda: loader.load(masked, raw))
        server.stop()
    return _children() - before


def bytes_at_most(count: int) -> tuple[int, int]:
    """What the messages themselves take, and what they and all that is made of them take at most."""
    tracemalloc.start()
    messages = received(count)
    alone, _ = tracemalloc.get_traced_memory()
    transform(messages, MASKS, Stopwatch())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return alone, peak


def main() -> None:
    """Prints medians, and the bytes a message."""
    watch, idle, busy = Stopwatch(), [], []
    messages = received(MESSAGES)
    for _ in range(ROUNDS):
        raw, masked = transform(messages, MASKS, watch)
        idle.append(load(raw, masked[:0], Stopwatch()))
        busy.append(load(raw, masked, watch))
    client = watch.microseconds(MESSAGES)
    client["together"] = round(sum(client.values()), 2)
    alone, peak = bytes_at_most(MESSAGES)
    figures = {
        "client": client,
        "server": round((median(busy) - median(idle)) / MESSAGES * 1e6, 2),
        "bytes": {"received": alone // MESSAGES, "peak": peak // MESSAGES},
    }
    print(json.dumps(figures, indent=2))


def _delete(_receipt_handles: Iterable[str], _stop: Event | None = None) -> dict[str, int]:
    return {}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
