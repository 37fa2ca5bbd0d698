"""A run of the assets, a redrive and a pruning that stop before each call to SQS, each load and each record.

What happens between two stops is the product's own code.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import dagster as dg

from login_pipeline.defs import assets
from login_pipeline.defs.resources import LoginQueueResource, MaskingResource
from login_pipeline.ingest import redrive
from login_pipeline.logins.transform import raw_messages
from login_pipeline.postgres.copy import Loaded, Row
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.dead_letters import DeadLetterRecord, Letter
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport.client import ClientOptions, Sdk
from login_pipeline_tests.exactly_once.simulated_sqs import SimulatedSqs
from login_pipeline_tests.exactly_once.stepped_process import STUCK_SECONDS, KilledError, SteppedProcess
from login_pipeline_tests.exactly_once.watch import RunWatch, Watch

# What the assets use of Dagster's contexts; a real one opens an instance, which takes 60 ms.
_CONTEXT: Any = SimpleNamespace(
    log=logging.Logger("unheard", logging.CRITICAL),
    run=None,
    op_execution_context=SimpleNamespace(op=SimpleNamespace(name="stepped")),
)
_deletes_late: ContextVar[bool] = ContextVar("deletes_late")


def stepped_run(sqs: SimulatedSqs, watch: RunWatch, *, quarantine_first: bool, deletes_late: bool) -> SteppedProcess:
    """What Dagster does with login_job, in memory: the assets in either of their orders, each failure its own.

    Args:
        sqs: Both queues.
        watch: Sees each call.
        quarantine_first: Which of the two last assets begins.
        deletes_late: Delete what is committed after the next load, instead of before it.
    """

    def work(process: SteppedProcess) -> None:
        _deletes_late.set(deletes_late)
        resource, database = LoginQueueResource(), SimpleNamespace(database=_StoppingDatabase(process, watch))
        vars(resource)["queues"] = _queues(sqs, process, watch)  # where it keeps what it made
        with resource.yield_for_execution(_CONTEXT), process.may_fail():
            raw = raw_messages(resource.queues.receive().messages)
            logins = _function(assets.masked_logins)(raw, MaskingResource()).value
            remaining = [assets.quarantined_logins, assets.user_logins_table]
            for asset in remaining if quarantine_first else remaining[::-1]:
                with process.may_fail():
                    _function(asset)(_CONTEXT, raw, logins, database, resource)

    return SteppedProcess(work)


def stepped_redrive(sqs: SimulatedSqs, reason: str | None, *, dry_run: bool) -> SteppedProcess:
    """The command's redrive, which makes its queue itself."""

    def work(process: SteppedProcess) -> None:
        with process.may_fail():
            queues.append(_queues(sqs, process, None))
            redrive.redrive(read_settings(), reason, dry_run=dry_run)

    queues: list[LoginQueues] = []
    with patch.object(redrive, "LoginQueues", lambda _settings: queues.pop()):
        return SteppedProcess(work)  # by its first stop it has its queue


class DeletesInTurn:
    """In place of the thread that deletes beside the next load: one thread of a process does one step at a time.

    With two of them the system would choose which goes on, and a caller could look in the middle of a load.
    """

    def __init__(self, *_: object, **__: object) -> None:
        self._late = _deletes_late.get()

    def submit(self, delete: Callable[..., Any], *arguments: object) -> "Future[Any]":
        future = _Deletes(partial(delete, *arguments))
        if not self._late:
            future.do()
        return future

    def shutdown(self) -> None:
        """There is no thread."""


class _Deletes(Future[Any]):
    def __init__(self, delete: Callable[[], Any]) -> None:
        super().__init__()
        self._delete = delete

    def do(self) -> None:
        try:
            self.set_result(self._delete())
        except BaseException as error:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.do()
        return super().result(timeout)


class DyingDatabase(LoginDatabase):
    """The database of a process that is killed before one of its transactions; None is never."""

    def __init__(self, transactions: int | None) -> None:
        super().__init__(read_settings())
        self._transactions = transactions

    @contextmanager
    def transaction(self, *, seconds: float | None = None, snapshot: bool = False) -> Iterator[InterruptibleCursor]:
        if self._transactions is not None:
            if self._transactions == 0:
                raise KilledError
            self._transactions -= 1
        with super().transaction(seconds=seconds, snapshot=snapshot) as cursor:
            yield cursor


def _function(asset: dg.AssetsDefinition) -> Callable[..., Any]:
    """The asset's own function. Called as an asset it would copy the resources, and take 50 ms."""
    compute_fn: Any = asset.op.compute_fn
    function: Callable[..., Any] = compute_fn.decorated_fn
    return function


def _queues(sqs: SimulatedSqs, process: SteppedProcess, watch: Watch) -> LoginQueues:
    settings = read_settings().model_copy(update={"sqs_calls": 1})
    queues, sdk = LoginQueues(settings), _SimulatedSdk(settings, ClientOptions())
    vars(sdk)["client"] = _StoppingClient(sqs, process, watch)
    vars(queues)["_sdk"] = sdk  # where it keeps what it made
    return queues


class _SimulatedSdk(Sdk):
    """Asks no file for credentials and certificates, which takes some milliseconds."""

    credentials = None
    ca_bundle = None


class _StoppingClient:
    """SQS's client: each call is watched, and those that change something are steps.

    It has no event from which the transport could learn how libcurl is to call, so the client makes every call.
    """

    meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_: None))

    def __init__(self, sqs: SimulatedSqs, process: SteppedProcess, watch: Watch) -> None:
        self._sqs = sqs
        self._process = process
        self._watch = watch

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            # GetQueueAttributes changes nothing, and Python 3.11 has a lock around a cached property.
            if operation != "get_queue_attributes":
                self._process.stop(operation)
            if self._watch is not None:
                self._watch.before(operation, arguments)
            answer = getattr(self._sqs, operation)(**arguments)
            if self._watch is not None:
                self._watch.after(operation, arguments, answer)
            return answer

        return call


class _StoppingDatabase(LoginDatabase):
    """The database, of which each load and each record of dead letters is a step."""

    def __init__(self, process: SteppedProcess, watch: RunWatch) -> None:
        super().__init__(read_settings())
        self._process, self._watch = process, watch

    def load(
        self,
        rows: Iterable[Row],
        *,
        seconds: float,
        believed: Collection[str] | None = None,
        sent: Mapping[str, int] | None = None,
    ) -> Loaded:
        rows = list(rows)
        self._process.stop("load")
        # How fast the real server is decides nothing.
        loaded = super().load(rows, seconds=max(seconds, STUCK_SECONDS), believed=believed, sent=sent)
        self._watch.loaded([str(row[-1]) for row in rows], loaded)
        return loaded

    @contextmanager
    def record_dead_letters(self, letters: Mapping[str, Letter]) -> Iterator[DeadLetterRecord]:
        with self._watch.recording(letters.keys()), super().record_dead_letters(letters) as record:
            commit = record.commit

            def stop_and_commit(not_sent: Collection[str]) -> None:
                self._process.stop("record")
                commit(not_sent)

            with patch.object(record, "commit", stop_and_commit):
                yield record
