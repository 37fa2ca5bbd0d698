"""Calls SQS's batch operations for any number of entries: ten a call, in parallel, refused entries again.

A batch call answers 200 with lists of the entries that succeeded and that failed. Only an entry that the answer names
as successful has succeeded: an answer may be empty, or come from something else than SQS.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Event, Lock
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from login_pipeline.aws_errors import error_code
from login_pipeline.sqs.concurrency import Concurrency
from login_pipeline.sqs.worker_pool import work

MAX_ENTRIES = 10
"""Entries in one batch call. Source: Amazon SQS API Reference, SendMessageBatch."""
MAX_PAYLOAD = 262_144
"""Bytes in one SendMessageBatch. SQS takes 1 MiB since 2025; servers of before, and emulators, take this."""
PAUSES = (0.2, 0.4)
"""Seconds before an entry that failed by SQS's own fault, or is not confirmed, is tried again."""

NOT_CALLED = "NotCalled"
"""Our own code, of an entry for which there was no time any more, or whose queue is silent."""
# Our own code, of an entry that SQS's answer names neither among the successful nor among the failed ones.
NOT_CONFIRMED = "NotConfirmed"
SILENCE = (ConnectTimeoutError, ReadTimeoutError)
"""After all tries of the SDK, each of some seconds: the other calls would take hours."""
ENTRY_FAULTS = {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}
"""Codes with which a whole call is refused because of one entry, which must not cost its neighbours."""

Entry = dict[str, Any]
Answer = Mapping[str, Any]
BatchCall = Callable[[Sequence[Any]], Answer]
"""Takes up to ten entries, each with an Id, and returns SQS's answer."""
BatchCalls = Callable[[Sequence[Sequence[Any]]], Sequence[Answer | None]]
"""Takes several times as many; an answer is None where the call is to be made once more, alone."""


def call_in_batches(
    call: BatchCall,
    entries: Iterable[Entry],
    *,
    concurrency: Concurrency,
    several: BatchCalls = lambda batches: [None for _ in batches],
    hurry: Event | None = None,
) -> dict[str, str]:
    """Calls one of SQS's batch operations until each entry has succeeded or failed for good.

    Args:
        call: Calls it once.
        entries: Any number of them.
        concurrency: How many calls are made at once.
        several: Calls it several times at once, where that is possible.
        hurry: Once it is set, or a call gets no answer in time, no more calls are made: the entries that are left fail
            as NOT_CALLED.

    Returns:
        The error code of each entry that failed, by its Id.
    """
    calls = _Calls(call, several, entries, concurrency, hurry)
    while calls.left and not calls.is_over:
        work(calls.step, concurrency, calls=calls.left)
    return calls.failed | calls.not_made()


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

    def __init__(
        self,
        call: BatchCall,
        several: BatchCalls,
        entries: Iterable[Entry],
        concurrency: Concurrency,
        hurry: Event | None,
    ) -> None:
        self.failed: dict[str, str] = {}
        self._call = call
        self._several = several
        self._concurrency = concurrency
        self._hurry = hurry
        self._silent = False
        self._batches = deque(packed(entries))
        self._alone: deque[list[Entry]] = deque()
        """Those whose call got no answer when it was made with others."""
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many calls are to be made."""
        return len(self._batches) + len(self._alone)

    @property
    def is_over(self) -> bool:
        """Whether no more calls are to be made, however many are left."""
        return self._silent or (self._hurry is not None and self._hurry.is_set())

    def not_made(self) -> dict[str, str]:
        """The code of each entry that was left."""
        return {entry["Id"]: NOT_CALLED for batch in (*self._alone, *self._batches) for entry in batch}

    def step(self) -> bool:
        """Makes a call that is to be made alone, or some at once; False when there is none."""
        if self.is_over:
            return False
        alone, together = self._next()
        if alone:
            self.failed |= self._with_retries(alone, None)
        elif together:
            for batch, answer in zip(together, self._several(together), strict=True):
                if answer is None:
                    self._alone.append(batch)
                else:
                    self.failed |= self._with_retries(batch, answer)
        return bool(alone or together)

    def _next(self) -> tuple[list[Entry] | None, list[list[Entry]]]:
        with self._lock:
            if self._alone:
                return self._alone.popleft(), []
            some = min(self._concurrency.calls_of_a_thread, len(self._batches))
            return None, [self._batches.popleft() for _ in range(some)]

    def _with_retries(self, batch: Sequence[Entry], answer: Answer | None) -> dict[str, str]:
        """The codes of the entries that fail for good; `answer` is SQS's to the first call, where that is made."""
        waiting = {entry["Id"]: entry for entry in batch}
        failed: dict[str, str] = {}
        for pause in (*PAUSES, None):
            entries = list(waiting.values())
            final, passing = self._failures(entries) if answer is None else _sorted(entries, answer)
            answer = None
            failed |= final
            if not passing or pause is None:
                return failed | passing
            waiting = {ident: waiting[ident] for ident in passing}
            time.sleep(pause)
        return failed

    def _failures(self, entries: Sequence[Entry]) -> tuple[dict[str, str], dict[str, str]]:
        """The codes of the entries that failed for good, and of those that may succeed when tried again."""
        try:
            return _sorted(entries, self._call(entries))
        except ClientError as error:  # the SDK has retried it already
            code = error_code(error)
            if code in ENTRY_FAULTS and len(entries) > 1:
                alone = [self._failures([entry]) for entry in entries]
                final = {ident: why for failed, _ in alone for ident, why in failed.items()}
                return final, {ident: why for _, passing in alone for ident, why in passing.items()}
            return {entry["Id"]: code for entry in entries}, {}
        except (BotoCoreError, RuntimeError) as error:  # the latter where new credentials are expired already
            self._silent |= isinstance(error, SILENCE)
            return {entry["Id"]: type(error).__name__ for entry in entries}, {}


def _sorted(entries: Sequence[Entry], answer: Answer) -> tuple[dict[str, str], dict[str, str]]:
    """The codes of the entries that failed by our own fault, and of those that may succeed when tried again."""
    confirmed = {success.get("Id") for success in answer.get("Successful") or ()}
    failures = {failure["Id"]: failure for failure in answer.get("Failed") or ()}
    final: dict[str, str] = {}
    passing: dict[str, str] = {}
    for ident in (entry["Id"] for entry in entries if entry["Id"] not in confirmed):
        failure = failures.get(ident, {"Code": NOT_CONFIRMED, "SenderFault": False})
        (final if failure["SenderFault"] else passing)[ident] = str(failure["Code"])
    return final, passing
