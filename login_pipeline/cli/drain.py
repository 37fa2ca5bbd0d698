"""Runs login_job until the queue is empty and no other run is at work, and adds up what the runs did."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from login_pipeline.cli.runs import Run, run
from login_pipeline.errors import LoginPipelineError, QueueError
from login_pipeline.ingest.preflight import check_surroundings
from login_pipeline.logs.setup import process_log
from login_pipeline.masking.masker import Masker
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import MAX_IN_FLIGHT, Settings
from login_pipeline.signals import Interrupts
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth, SqsQueue

# Between two looks at what another run or another consumer holds.
POLL_SECONDS = 1.0
# Seconds for which SQS's counts may be wrong. Source: Amazon SQS API Reference, GetQueueAttributes.
COUNTS_LAG = 60
AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass
class Totals:
    """What all runs of a drain did together, in messages; `deleted` counts the quarantined ones too."""

    runs: int = 0
    received: int = 0
    loaded: int = 0
    duplicates: int = 0
    quarantined: int = 0
    deleted: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, run: Run) -> None:
        """Adds one run's figures."""
        table, rejected = run.metadata.get("user_logins_table", {}), run.metadata.get("quarantined_logins", {})
        self.runs += 1
        self.received += run.metadata.get("raw_sqs_messages", {}).get("dagster/row_count", 0)
        self.loaded += table.get("loaded", 0)
        self.duplicates += table.get("duplicates", 0)
        self.quarantined += rejected.get("dagster/row_count", 0) + table.get("quarantined", 0)
        self.deleted += table.get("deleted", 0) + rejected.get("deleted", 0)
        self.reasons.update(Counter(rejected.get("reasons", {})) + Counter(table.get("reasons", {})))
        self.failures += run.failures

    def figures(self) -> dict[str, Any]:
        """The figures by name, for `drain --json`."""
        return {name: value for name, value in vars(self).items() if name not in ("reasons", "failures")}


Progress = Callable[[Totals, QueueDepth], None]


def drain(settings: Settings, instance: dg.DagsterInstance, progress: Progress) -> Totals:
    """Runs login_job until long polls come back empty and SQS counts no message, or until a run fails.

    SQS's counts lag by up to a minute, so they may miss what another consumer received a moment ago. Other runs of this
    Dagster instance are waited for. A message that a consumer outside of it holds is not, unless SQS counts it.
    `progress` is called after each run, and while messages are in flight elsewhere.

    Raises:
        ConfigurationError: the surroundings are wrong; nothing was received.
        KeyboardInterrupt: SIGINT or SIGTERM came; what was held is back on the queue.
    """
    queues = LoginQueues(settings)
    check_surroundings(queues, LoginDatabase(settings), Masker(settings))
    started = time.monotonic()
    drained = _Drain(instance, queues.login_queue, settings.visibility_timeout, progress)
    progress(drained.totals, queues.login_queue.depth())
    with Interrupts() as interrupts:
        drained.run_until_empty(interrupts)
    totals = drained.totals
    totals.seconds = round(time.monotonic() - started, 3)
    process_log().info("drained", **totals.figures(), reasons=dict(totals.reasons), failures=len(totals.failures))
    return totals


@dataclass
class _Drain:
    """One drain of `queue`, whose messages are invisible for `visibility_timeout` seconds once they are received."""

    instance: dg.DagsterInstance
    queue: SqsQueue
    visibility_timeout: int
    progress: Progress
    totals: Totals = field(default_factory=Totals)

    def run_until_empty(self, interrupts: Interrupts) -> None:
        """Runs login_job until a run fails, or the queue is empty and no other run is at work."""
        received_last = time.monotonic()
        while not self.totals.failures:
            received = self.totals.received
            others = self._at_work()
            last = run("login_job", self.instance)
            others |= self._at_work()
            self.totals.add(last)
            interrupts.raise_if_any()
            ran_dry = last.metadata.get("raw_sqs_messages", {}).get("queue_ran_dry", False)
            if self.totals.received > received:
                received_last = time.monotonic()
            try:
                depth = self.queue.depth()
                self.progress(self.totals, depth)
                waiting_since = time.monotonic()
                if not depth.visible:  # then SQS was not silent: there was nothing to receive
                    received_last = waiting_since
                dry = ran_dry and not self.totals.failures and self._have_loaded(others)
                if dry and self._is_empty():
                    break
                received_last += time.monotonic() - waiting_since  # what others held could not be received then
                if time.monotonic() > received_last + COUNTS_LAG:
                    raise _nothing_comes(self.queue.depth())
            except LoginPipelineError as error:
                self.totals.failures.append(error.sentence)

    def _at_work(self) -> set[str]:
        """The ids of the runs of login_job that may hold messages; called between this drain's own.

        A run that has been at work for longer than messages stay invisible was lost, and what it held is visible again.
        """
        changed_after = datetime.now(UTC) - timedelta(seconds=self.visibility_timeout)
        at_work = dg.RunsFilter(job_name="login_job", statuses=AT_WORK, updated_after=changed_after)
        return {each.run_id for each in self.instance.get_runs(at_work)}

    def _have_loaded(self, run_ids: set[str]) -> bool:
        """Waits until these runs are over; False where one of them failed, so that what it held may be visible again.

        Waiting is no run, so two drains at once do not wait for each other.
        """
        while run_ids & self._at_work():
            time.sleep(POLL_SECONDS)
        finished = self.instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else []
        return all(each.is_success for each in finished)

    def _is_empty(self) -> bool:
        """Waits while messages are in flight or delayed; False as soon as one can be received.

        Messages that another consumer holds come back by its visibility timeout at the latest. SQS's counts lag by
        up to a minute, so a while is waited for our own deletes to show, too.

        Raises:
            QueueError: they did not come back.
        """
        until = time.monotonic() + self.visibility_timeout + COUNTS_LAG
        while (depth := self.queue.depth()) != QueueDepth(0, 0, 0):
            if depth.visible:
                return False
            if time.monotonic() > until:
                raise QueueError(
                    f"The queue still counts {depth.in_flight} messages in flight and {depth.delayed} delayed; another "
                    "consumer holds them; drain again when it has finished"
                )
            self.progress(self.totals, depth)
            time.sleep(POLL_SECONDS)
        return True


def _nothing_comes(depth: QueueDepth) -> QueueError:
    """At its limit of messages in flight SQS delivers nothing more, and does not say so."""
    return QueueError(
        f"SQS counts {depth.visible} messages to receive and has delivered none for {COUNTS_LAG} s; {depth.in_flight} "
        f"are in flight, and at {MAX_IN_FLIGHT:,} it delivers nothing more; stop other consumers, or wait until what "
        "they hold is visible again"
    )
