"""Calls SQS's batch operations for any number of entries: ten a call, in parallel, refused entries again.

A batch call responds with 200 and lists of the entries that succeeded and that failed. Only an entry that the response
names as successful has succeeded: a response may be empty, or come from something else than SQS.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event, Lock
from typing import Any

from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from login_pipeline.aws import error_code
from login_pipeline.sqs.transport.client import BatchResponse, CallError, EntryResult, is_about_the_request
from login_pipeline.sqs.worker_pool import WorkerPool

# Entries in one batch call. Source: Amazon SQS API Reference, SendMessageBatch.
MAX_ENTRIES = 10
# Bytes in one SendMessageBatch. SQS takes 1 MiB since 2025; servers of before, and emulators, take this.
MAX_PAYLOAD = 262_144
# Seconds before an entry that failed by SQS's own fault, or is not confirmed, is tried again.
PAUSES = (0.2, 0.4)
# Our own code, of an entry for which there was no time left, or whose queue is silent.
NOT_ATTEMPTED = "NotAttempted"
# Our own code, of an entry that SQS's response names neither among the successful nor among the failed ones.
NOT_CONFIRMED = "NotConfirmed"
# After all tries of the SDK, each of some seconds: the other calls would take hours.
SILENCE = (ConnectTimeoutError, ReadTimeoutError)

Entry = dict[str, Any]
# Calls the operation with each of these batches of up to ten entries, each with an Id; the responses, or errors.
BatchCalls = Callable[[Sequence[Sequence[Entry]]], Sequence[BatchResponse | CallError]]


def call_in_batches(
    call_many: BatchCalls, entries: Iterable[Entry], *, workers: WorkerPool, stop: Event | None = None
) -> dict[str, str]:
    """Calls one of SQS's batch operations until each entry has succeeded or failed for good.

    Once `stop` is set, or a call gets no response in time, no more calls are made: the entries that are left fail as
    NOT_ATTEMPTED.

    Returns:
        The error code of each entry that failed, by its Id.
    """
    calls = _Calls(call_many, entries, workers.calls_per_step, stop)
    workers.repeat(calls.step, calls=len(calls.left))
    return calls.failed | {entry["Id"]: NOT_ATTEMPTED for batch in calls.left for entry in batch}


def packed(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries in order, in batches that fit one call by number and by size."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        entry_size = _size(entry)
        if batch and (len(batch) == MAX_ENTRIES or size + entry_size > MAX_PAYLOAD):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry_size
    if batch:
        yield batch


def _size(entry: Entry) -> int:
    """Bytes that SQS counts: the body and each attribute's name, type and value; none where nothing is sent."""
    if "MessageBody" not in entry:
        return 0
    texts = [entry["MessageBody"]]
    for name, attribute in entry.get("MessageAttributes", {}).items():
        texts += [name, *attribute.values()]
    return sum(len(text if isinstance(text, bytes) else text.encode()) for text in texts)


class _Calls:
    """The calls for all entries, while threads make them."""

    def __init__(self, call_many: BatchCalls, entries: Iterable[Entry], calls_at_once: int, stop: Event | None) -> None:
        self.failed: dict[str, str] = {}
        self.left = deque(packed(entries))
        self._call_many = call_many
        self._calls_at_once = calls_at_once
        self._stop = stop or Event()
        self._silent = False
        self._lock = Lock()

    def step(self) -> bool:
        """Makes some calls at once; False where there are none to make."""
        if self._silent or self._stop.is_set():
            return False
        with self._lock:
            batches = [self.left.popleft() for _ in range(min(self._calls_at_once, len(self.left)))]
        for batch, outcome in zip(batches, self._call_many(batches) if batches else (), strict=True):
            self.failed |= self._with_retries(batch, outcome)
        return bool(batches)

    def _with_retries(self, batch: Sequence[Entry], outcome: BatchResponse | CallError) -> dict[str, str]:
        """The codes of the entries that fail for good; `outcome` is that of the first call."""
        failed, retryable = self._failures(batch, outcome)
        for pause in PAUSES:
            if not retryable or self._silent or self._stop.is_set():
                break
            time.sleep(pause)
            batch = [entry for entry in batch if entry["Id"] in retryable]
            final, retryable = self._failures(batch, *self._call_many([batch]))
            failed |= final
        return failed | retryable

    def _failures(
        self, batch: Sequence[Entry], outcome: BatchResponse | CallError
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The codes of the entries that failed for good, and of those that may succeed when tried again."""
        if isinstance(outcome, BatchResponse):
            return _failures(batch, outcome)
        if isinstance(outcome, SILENCE):
            self._silent = True
        code = error_code(outcome) if isinstance(outcome, ClientError) else type(outcome).__name__
        if not is_about_the_request(outcome) or len(batch) == 1:  # the SDK has tried it again already
            return {entry["Id"]: code for entry in batch}, {}
        # One after the other, so that the fault of one entry does not cost its neighbours.
        failed: dict[str, str] = {}
        retryable: dict[str, str] = {}
        for entry in batch:
            final, transient = self._failures([entry], *self._call_many([[entry]]))
            failed |= final
            retryable |= transient
        return failed, retryable


def _failures(batch: Sequence[Entry], response: BatchResponse) -> tuple[dict[str, str], dict[str, str]]:
    confirmed = {success.id for success in response.successful}
    failures = {failure.id: failure for failure in response.failed}
    final: dict[str, str] = {}
    retryable: dict[str, str] = {}
    for ident in (entry["Id"] for entry in batch if entry["Id"] not in confirmed):
        failure = failures.get(ident, EntryResult(ident, NOT_CONFIRMED))
        (final if failure.senders_fault else retryable)[ident] = failure.code
    return final, retryable
