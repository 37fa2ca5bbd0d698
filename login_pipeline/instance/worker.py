"""The Celery worker, which takes runs from Redis: a process for each, and no imports.

Python, Dagster, pandas and the SDK take some three seconds of CPU to import, which is more than the messages of most
batches take. So a run's process is forked from the worker, which has imported all of it, and holds no message, no
connection and no thread of ours. The process keeps its run's lease for as long as it lives, and interrupts the run when
Dagster wants it to end, or the worker does.
"""

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import FrameType
from typing import Any, NoReturn

import dagster as dg
import redis
from celery import bootsteps, current_app, signals
from celery.worker import WorkController, state
from dagster_celery.make_app import make_app
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task

from login_pipeline.instance import HOST_TAG
from login_pipeline.instance.celery_config import LEASE_SECONDS, app_arguments, lease, redis_client
from login_pipeline.logs.setup import set_up_logging

DEFINITIONS = "login_pipeline.definitions"
# Between two renewals of a lease, and two looks at whether the run is to end.
LOOK_SECONDS = 3.0
# Between two looks for processes that are gone.
PLACES_SECONDS = 0.2
# An interrupt between two steps is lost, so it is sent again.
INTERRUPT_SECONDS = 10.0
# How long the launcher may take to tag a run once it has sent it.
TAG_SECONDS = 5.0
# How long the runs of a worker that is stopped may still take.
LAST_SECONDS = 10.0
# A run with one of these has no process, or one that is about to begin it or to end it.
NOT_BEGUN = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING}

# The run of this process, from when it has the lease until its task is over.
_OWN: set[str] = set()


def work(redis_url: str, *, runs: int) -> NoReturn:
    """Takes runs from Redis, so many at once, until SIGTERM."""
    app = make_app(  # type: ignore[no-untyped-call]
        {**app_arguments(redis_url), "include": [DEFINITIONS]}
    )
    create_execute_job_task(app)
    app.steps["worker"].add(_Places)
    signals.worker_before_create_process.connect(_freeze)
    signals.task_prerun.connect(_begin)
    signals.task_postrun.connect(_end)
    signals.worker_shutting_down.connect(_shut_down)
    command = ["worker", "--concurrency", str(runs), "--loglevel", "warning", "--without-gossip", "--without-mingle"]
    if set_up_logging():
        signals.setup_logging.connect(_keep_our_logging)
        command.insert(0, "--quiet")  # its banner is no JSON
    app.worker_main(command)
    sys.exit()


class _Places(bootsteps.StartStopStep):  # type: ignore[misc]
    """A place is free again as soon as the process of its run is gone.

    Celery looks once when a process closes its files, which is a moment before it is gone, and then every 5 seconds
    (celery issue 9588): longer than a run.
    """

    requires = ("celery.worker.components:Pool", "celery.worker.components:Timer")

    def start(self, worker: WorkController) -> None:
        """Celery calls it once the pool has started."""
        worker.timer.call_repeatedly(PLACES_SECONDS, worker.pool.maintain_pool)


def _keep_our_logging(**_: Any) -> None:
    """Where this signal has a receiver, Celery sets up no logging of its own."""


def _freeze(**_: Any) -> None:
    """What is imported stays: a run's process need not look through it, and shares its memory with the worker."""
    gc.freeze()


def _begin(kwargs: dict[str, Any], **_: Any) -> None:
    """In a run's process, before Dagster reads the run."""
    _settle(_run_id(kwargs), _is_taken)


def _is_taken(run_id: str) -> bool:
    """False where another process is about to begin the run: a task that waits for long is delivered again."""
    run = _instance().get_run_by_id(run_id)
    if run and run.status in NOT_BEGUN:
        client = redis_client(current_app.conf.broker_url)
        if not client.set(lease(run_id), os.getpid(), ex=LEASE_SECONDS, nx=True):
            return run.status is dg.DagsterRunStatus.CANCELING  # there it is seen to
        _take_care_of(run_id, client)
    return True


def _end(kwargs: dict[str, Any], **_: Any) -> None:
    """In that process, after the task: Dagster's database may have been away, or the run canceled before it began."""
    if (run_id := _run_id(kwargs)) in _OWN:
        _OWN.remove(run_id)
        # Celery ends the process so once it has the result: one that does not heed it stays for a second more.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        _settle(run_id, _has_ended)


def _has_ended(run_id: str) -> bool:
    run = _instance().get_run_by_id(run_id)
    if run and run.status is dg.DagsterRunStatus.CANCELING:
        _instance().report_run_canceled(run)
    elif run and not run.is_finished:
        _instance().report_run_failed(run, "The run's process could not report its end; the worker's log says why")
    return True


def _run_id(kwargs: dict[str, Any]) -> str:
    """Of a task of Dagster's."""
    return str(kwargs["execute_job_args_packed"]["pipeline_run_id"])


def _settle(run_id: str, is_settled: Callable[[str], bool]) -> None:
    """Waits for Dagster's database and for Redis: a task that fails is not delivered again, and its run is lost."""
    while True:
        try:
            if is_settled(run_id):
                return
        except Exception as error:
            logging.getLogger(__name__).warning(
                "Run %s waits: the database in LOGIN_DAGSTER_DATABASE_URL or the server in LOGIN_REDIS_URL "
                "cannot be used (%s)",
                run_id,
                type(error).__name__,
            )
        time.sleep(LOOK_SECONDS)


def _take_care_of(run_id: str, client: redis.Redis) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        # Dagster takes these as interrupts while a step runs. Between two steps it restores the handler of SIGINT for
        # both, and Celery ignores SIGINT: from the first step on, SIGTERM would never be heard again.
        signal.signal(each, _hold)
    _OWN.add(run_id)
    _repeat(lambda: client.set(lease(run_id), os.getpid(), ex=LEASE_SECONDS))
    _repeat(_Ending(run_id).look)
    with suppress(Exception):  # a run works without it, too
        _tag_host(run_id)


def _hold(_: int, __: FrameType | None) -> None:
    """Between two steps nothing is cut off."""


def _repeat(work: Callable[[], object]) -> None:
    """In a thread, for as long as this process lives: what is away comes back."""

    def repeat() -> None:
        while True:
            with suppress(Exception):
                work()
            time.sleep(LOOK_SECONDS)

    threading.Thread(target=repeat, daemon=True).start()


@cache
def _instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.get()


def _tag_host(run_id: str) -> None:
    """Once the launcher has tagged the run: who adds a tag writes all of them."""
    until = time.monotonic() + TAG_SECONDS
    while run := _instance().get_run_by_id(run_id):
        if DAGSTER_CELERY_TASK_ID_TAG in run.tags or time.monotonic() > until:
            _instance().add_run_tags(run_id, {HOST_TAG: socket.gethostname()})
            return
        time.sleep(0.05)


class _Ending:
    """Interrupts the run of this process when it is terminated, failed or deleted."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._next = 0.0

    def look(self) -> None:
        """Called again and again."""
        run = _instance().get_run_by_id(self._run_id)
        # Its event, for Dagster writes STARTED over the status of a run that is terminated as it begins.
        terminated = bool(_instance().all_logs(self._run_id, of_type=dg.DagsterEventType.PIPELINE_CANCELING))
        if run and terminated and run.status is dg.DagsterRunStatus.STARTED:
            _instance().report_run_canceling(run)
        is_to_end = run is None or run.is_finished or terminated
        if is_to_end and self._run_id in _OWN and time.monotonic() > self._next:
            self._next = time.monotonic() + INTERRUPT_SECONDS
            os.kill(os.getpid(), signal.SIGTERM)


def _shut_down(**_: Any) -> None:
    """The worker takes no new run, and waits for those that it has; in a thread they are interrupted."""
    threading.Thread(target=_interrupt_runs, daemon=True).start()


def _interrupt_runs() -> None:
    time.sleep(LAST_SECONDS)
    while True:
        for request in list(state.active_requests):
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGTERM)
        time.sleep(INTERRUPT_SECONDS)
