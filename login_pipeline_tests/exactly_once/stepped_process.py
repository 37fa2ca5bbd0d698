"""A process of the product in a thread, of which one step at a time happens, until a test lets it go on or ends it.

So a test decides how processes interleave and where one of them dies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Semaphore, Thread

import dagster as dg

from login_pipeline.errors import LoginPipelineError
from login_pipeline.logs.redaction import pipeline_error

STUCK_SECONDS = 60


class KilledError(BaseException):
    """The process is gone: nothing of it runs, and nothing is released."""


class InterruptedProcessError(BaseException):
    """A signal ends the process: it hands its messages back."""


class SteppedProcess:
    """Does `work` while the caller waits, which calls `stop` before each of its steps.

    `next_step` names what it is about to do, and is None once it has ended; `failures` are the errors of the product
    that it ended with.
    """

    def __init__(self, work: Callable[["SteppedProcess"], None]) -> None:
        self.next_step: str | None = None
        self.failures: list[LoginPipelineError] = []
        self._error: BaseException | None = None
        self._end: type[BaseException] | None = None
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, args=[work], daemon=True)
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
        self._end = InterruptedProcessError
        self.finish()

    def stop(self, step: str) -> None:
        """Called by the thread of the process that is about to do the step."""
        if self._end is not KilledError:
            self.next_step = step
            self._stopped.release()
            self._go.acquire()
        if self._end is KilledError or (self._end is InterruptedProcessError and not step.startswith("change")):
            raise self._end

    @contextmanager
    def may_fail(self) -> Iterator[None]:
        """Keeps an error of the product, which ends what is inside."""
        try:
            yield
        except (LoginPipelineError, dg.Failure) as error:
            failure = pipeline_error(error)
            assert failure is not None
            self.failures.append(failure)

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=STUCK_SECONDS), f"stuck before {self.next_step}"
        if self._error is not None:
            raise self._error

    def _run(self, work: Callable[["SteppedProcess"], None]) -> None:
        try:
            with suppress(KilledError, InterruptedProcessError):
                work(self)
        except BaseException as error:
            self._error = error
        finally:
            self.next_step = None
            self._stopped.release()
