"""The day, second by second: queue, sensor, Dagster's queue of runs, and the workers."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from benchmarks.autoscaling.parameters import DAY, HOUR, MODEL, Hours, Model
from benchmarks.autoscaling.queue import Queue, Sent
from benchmarks.autoscaling.workers import Autoscaler, Run, Workers
from login_pipeline.defs.decision import FAILURES_TO_BACK_OFF, Cursor, Decision, Runs, decide
from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth

Decide = Callable[[QueueDepth, Runs, Cursor, Settings, datetime], Decision]

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
# With the time after the day until the queue is empty.
MAX_SECONDS = DAY + 6 * HOUR
# Source: login_pipeline/defs/sensors.py, TICK_SECONDS.
TICK = 5
# To SQS: ten messages in each, and what a run asks besides.
MESSAGES_OF_A_CALL, CALLS_OF_A_RUN = 10, 8


class Second(NamedTuple):
    """What is seen at the end of a second; ages in seconds, 0 where no login waits. Cost in dollars since midnight."""

    arrived: int
    waiting: int
    age: int
    # Without the time in which there was no database.
    own_age: int
    workers: int
    cost: float


@dataclass
class Day:
    """What became of the day."""

    seconds: list[Second] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    # In which second runs ended, by how.
    runs: dict[str, list[int]] = field(default_factory=lambda: {"succeeded": [], "failed": [], "interrupted": []})

    @property
    def own_age(self) -> int:
        """The oldest that a login became, without the time in which there was no database."""
        return max(second.own_age for second in self.seconds)

    def during(self, hours: Hours) -> list[Second]:
        """Some of the day."""
        return self.seconds[hours.begin : hours.end]

    def failed(self, hours: Hours) -> int:
        """How many runs failed."""
        return sum(second in hours for second in self.runs["failed"])


def simulate(settings: Settings, model: Model = MODEL, decide: Decide = decide) -> Day:
    """The day, and then until nothing is left on the queue."""
    deployment = _Deployment(settings, model, decide)
    for now in range(MAX_SECONDS):
        deployment.step(now)
        if now >= DAY and not deployment.left:
            break
    return deployment.day


class _Deployment:
    def __init__(self, settings: Settings, model: Model, decide: Decide) -> None:
        self._settings, self._model, self._decide = settings, model, decide
        self._random = np.random.default_rng(model.seed)
        self._queue = Queue()
        self._autoscaler = Autoscaler(model.scaler, settings)
        self._workers = Workers(model.place)
        self._cost = 0.0
        self._cursor = Cursor()
        self._requested = 0
        self._queued: deque[Run] = deque()
        self._launched: deque[Run] = deque()
        # Whether the runs that ended failed, by their numbers.
        self._ended: dict[int, bool] = {}
        self.day = Day()

    @property
    def left(self) -> int:
        """Messages that are on the queue, visible or not."""
        return self._queue.visible + self._queue.in_flight

    def step(self, now: int) -> None:
        """One second."""
        arrived = self._send(now)
        self._queue.look(now)
        self._end_runs(now)
        self._autoscaler.look(self.left, now)
        self._workers.scale(self._autoscaler.replicas, now)
        self._begin_runs(now)
        if now % TICK == 0:
            self._tick(now)
        self._cost += len(self._workers.all) * self._model.prices.worker_hour / HOUR
        self.day.seconds.append(self._seen(now, arrived))

    def _send(self, now: int) -> int:
        logins, malformed = (int(self._random.poisson(rate)) for rate in self._model.traffic.rates(now))
        self._queue.send(Sent(now, 0, logins, malformed))
        self.day.sent.update(logins=logins, malformed=malformed)
        return logins + malformed

    def _end_runs(self, now: int) -> None:
        for run, interrupted in self._workers.ending(now):
            how = "interrupted" if interrupted else "succeeded" if self._load(run, now) else "failed"
            if interrupted:
                self._queue.release(run.batch, now)
            self.day.runs[how].append(now)
            self._ended[run.number] = how != "succeeded"

    def _load(self, run: Run, now: int) -> bool:
        """Whether the run succeeds; what it cannot finish is released."""
        if run.finds_no_database or now in self._model.traffic.no_database:
            self._queue.release(run.batch, now)
            return False
        logins, malformed = sum(each.logins for each in run.batch), sum(each.malformed for each in run.batch)
        self._queue.delete(logins)
        self.day.ended.update(logins=logins)
        if malformed and now in self._model.traffic.no_letters:
            self._queue.release([each._replace(logins=0) for each in run.batch], now)
            return False
        self._queue.delete(malformed)
        self.day.ended.update(malformed=malformed)
        self._call((logins + 2 * malformed) / MESSAGES_OF_A_CALL)
        return True

    def _begin_runs(self, now: int) -> None:
        """Dagster's daemon launches runs, so many at once, and free workers take them."""
        while self._queued and len(self._launched) + len(self._workers.busy()) < self._settings.max_concurrent_runs:
            self._launched.append(self._queued.popleft())
        for worker in self._workers.free(now):
            if self._launched:
                worker.run = self._launched.popleft()
                self._begin(worker.run, now)

    def _begin(self, run: Run, now: int) -> None:
        run.finds_no_database = now in self._model.traffic.no_database
        if run.finds_no_database:
            run.ends = now + self._model.place.no_database_seconds
            return
        run.batch = self._queue.receive(self._settings.batch_size)
        logins, malformed = sum(each.logins for each in run.batch), sum(each.malformed for each in run.batch)
        self._call(CALLS_OF_A_RUN + (logins + malformed) / MESSAGES_OF_A_CALL)
        seconds = logins / self._model.place.logins_per_second + malformed / self._model.place.malformed_per_second
        varies = self._random.uniform(1 - self._model.place.varies, 1 + self._model.place.varies)
        run.ends = now + (self._model.place.run_seconds + seconds) * varies

    def _tick(self, now: int) -> None:
        """The sensor looks."""
        self._call(1)
        runs = Runs(
            newest=str(self._requested) if self._requested else None,
            on_their_way=len(self._queued) + len(self._launched),
            at_work=len(self._workers.busy()),
            failing=self._failing(),
            limited=True,
        )
        depth = QueueDepth(self._queue.visible, self._queue.in_flight, 0)
        decision = self._decide(depth, runs, self._cursor, self._settings, MIDNIGHT + timedelta(seconds=now))
        self._cursor = decision.cursor
        for _ in range(decision.wanted):
            self._requested += 1
            self._queued.append(Run(self._requested))

    def _failing(self) -> str | None:
        last = sorted(self._ended)[-FAILURES_TO_BACK_OFF:]
        return str(last[-1]) if len(last) == FAILURES_TO_BACK_OFF and all(map(self._ended.get, last)) else None

    def _call(self, calls: float) -> None:
        self._cost += calls * self._model.prices.call

    def _seen(self, now: int, arrived: int) -> Second:
        held = [each.at for run in self._workers.busy() for each in run.batch if each.logins]
        waiting = self._queue.oldest()
        oldest = min([*held, now if waiting is None else waiting])
        away = self._model.traffic.no_database
        without_database = max(min(now, away.end) - max(oldest, away.begin), 0)
        return Second(
            arrived=arrived,
            waiting=self.left,
            age=now - oldest,
            own_age=now - oldest - without_database,
            workers=len(self._workers.all),
            cost=self._cost,
        )
