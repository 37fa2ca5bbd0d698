"""One run of the assets that stops before each call to SQS and each load, until a test lets it go on or ends it.

So a test decides how the runs interleave and where one of them dies; the code between two stops is the product's own.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Semaphore, Thread
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
from pydantic import PrivateAttr

from login_pipeline import assets
from login_pipeline.errors import LoginPipelineError
from login_pipeline.login_batch import raw_messages
from login_pipeline.resources.masking import MaskingResource
from login_pipeline.resources.postgres import Loaded, LoginDatabaseResource, Row
from login_pipeline.resources.sqs import LoginQueueResource
from login_pipeline_tests.simulated_sqs import SimulatedSqs

STUCK_SECONDS = 60
_CONTEXT: Any = SimpleNamespace(log=logging.Logger("unheard", logging.CRITICAL))
"""What the assets use of Dagster's contexts; a real one opens an instance, which takes 60 ms."""

Stop = Callable[[str], None]


class KilledError(BaseException):
    """The process is gone: nothing of it runs any more, and nothing is handed back."""


class InterruptedRunError(BaseException):
    """A signal ends the run: it hands its messages back."""


class SteppedRun:
    """A run in a thread of its own, of which one step at a time happens while the caller waits.

    `next_step` names what it is about to do, and is None once it has ended; `failures` are the errors that its assets
    ended with, and `committed` the ids of the messages whose load was committed.
    """

    def __init__(self, sqs: SimulatedSqs, *, quarantine_first: bool) -> None:
        self.next_step: str | None = None
        self.failures: list[LoginPipelineError] = []
        self.committed: set[str] = set()
        self._error: BaseException | None = None
        self._end: type[BaseException] | None = None
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, args=[sqs, quarantine_first], daemon=True)
        self._thread.start()
        self._wait()

    def step(self) -> None:
        """Lets it do its next step, up to the one after that; raises what the product must never raise."""
        self._go.release()
        self._wait()

    def finish(self) -> None:
        """Lets it do all that is left."""
        while self.next_step is not None:
            self.step()

    def kill(self) -> None:
        """Ends it before its next step, as `kill -9` does."""
        self._end = KilledError
        self.finish()

    def interrupt(self) -> None:
        """Ends it before its next step, as a signal does."""
        self._end = InterruptedRunError
        self.finish()

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=STUCK_SECONDS), f"stuck before {self.next_step}"
        if self._error is not None:
            raise self._error

    def _stop(self, step: str) -> None:
        """Called by whatever thread of the run is about to do the step."""
        if self._end is not KilledError:
            self.next_step = step
            self._stopped.release()
            self._go.acquire()
        if self._end is KilledError or (self._end is InterruptedRunError and not step.startswith("change")):
            raise self._end

    def _run(self, sqs: SimulatedSqs, quarantine_first: bool) -> None:
        try:
            with suppress(KilledError, InterruptedRunError):
                self._run_assets(
                    _queue(sqs, self._stop), _StoppingDatabase(self._stop, self.committed), quarantine_first
                )
        except BaseException as error:
            self._error = error
        finally:
            self.next_step = None
            self._stopped.release()

    def _run_assets(self, queue: LoginQueueResource, database: LoginDatabaseResource, quarantine_first: bool) -> None:
        """What Dagster does with login_job, in memory: the assets in either of their orders, each failure its own."""
        with queue.yield_for_execution(_CONTEXT), self._failures():
            raw = raw_messages(queue.receive().messages)
            logins = _function(assets.masked_logins)(raw, MaskingResource()).value
            remaining: list[Callable[[], Any]] = [
                lambda: _function(assets.quarantined_logins)(raw, logins, queue),
                lambda: _function(assets.user_logins_table)(_CONTEXT, logins, database, queue),
            ]
            for materialize in remaining if quarantine_first else remaining[::-1]:
                with self._failures():
                    materialize()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except LoginPipelineError as failure:
            self.failures.append(failure)


def _function(asset: dg.AssetsDefinition) -> Callable[..., Any]:
    """The asset's own function. Called as an asset it would copy the resources, and take 50 ms."""
    function: Callable[..., Any] = cast("DecoratedOpFunction", asset.op.compute_fn).decorated_fn
    return function


def _queue(sqs: SimulatedSqs, stop: Stop) -> LoginQueueResource:
    queue = LoginQueueResource(threads=1)
    queue.__dict__["_client"] = _StoppingClient(sqs, stop)  # where the resource keeps the client that it made
    return queue


class _StoppingClient:
    """SQS's client, of which each call is a step."""

    def __init__(self, sqs: SimulatedSqs, stop: Stop) -> None:
        self._sqs = sqs
        self._stop = stop

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self._stop(operation)
            return getattr(self._sqs, operation)(**arguments)

        return call


class _StoppingDatabase(LoginDatabaseResource):
    """The database, of which each load is a step."""

    _stop: Stop = PrivateAttr()
    _committed: set[str] = PrivateAttr()

    def __init__(self, stop: Stop, committed: set[str]) -> None:
        super().__init__()
        self._stop, self._committed = stop, committed

    def load(self, rows: Iterable[Row], *, seconds: float) -> Loaded:
        rows = list(rows)
        self._stop("load")
        loaded = super().load(rows, seconds=seconds)
        self._committed |= {str(row[-1]) for row in rows}
        return loaded
