"""The model's workers, and how many of them there are to be."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.autoscaling.parameters import Place, Scaler
from benchmarks.autoscaling.queue import Sent
from login_pipeline.settings import Settings


@dataclass
class Run:
    """A run: what it has received, and when it ends, once it has begun."""

    number: int
    batch: list[Sent] = field(default_factory=list)
    ends: float = math.inf
    finds_no_database: bool = False


@dataclass
class Worker:
    """A place for one run at a time; one that is stopped takes no other."""

    ready: int
    run: Run | None = None
    stops: float = math.inf

    def is_free(self, now: int) -> bool:
        """Whether it takes a run."""
        return self.ready <= now and self.run is None and self.stops == math.inf


class Workers:
    """As many as there are to be, those that start and those that are being stopped."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.all: list[Worker] = []

    def scale(self, replicas: int, now: int) -> None:
        """Starts some, or stops the newest, whether they have a run or not, as Kubernetes may."""
        staying = [worker for worker in self.all if worker.stops == math.inf]
        self.all += [Worker(now + self._place.start_seconds) for _ in range(replicas - len(staying))]
        for worker in staying[replicas:]:
            worker.stops = now + self._place.stop_seconds
        self.all = [worker for worker in self.all if worker.run or worker.stops == math.inf]

    def busy(self) -> list[Run]:
        """The runs that are at work."""
        return [worker.run for worker in self.all if worker.run]

    def free(self, now: int) -> list[Worker]:
        """Those that take a run, the newest first: it is also stopped first, so this is the worst case."""
        return [worker for worker in reversed(self.all) if worker.is_free(now)]

    def ending(self, now: int) -> Iterator[tuple[Run, bool]]:
        """The runs that end, and whether they are interrupted; their places are free."""
        for worker in self.all:
            run = worker.run
            if run and (run.ends <= now or worker.stops <= now):
                worker.run = None
                yield run, run.ends > now


class Autoscaler:
    """How many workers there are to be, from all messages on the queue, those in flight included."""

    def __init__(self, scaler: Scaler, settings: Settings) -> None:
        self._scaler, self._settings = scaler, settings
        self._recommended: deque[tuple[int, int]] = deque()
        self.replicas = scaler.min_replicas

    def look(self, messages: int, now: int) -> None:
        """Looks at the queue when it is time to."""
        scaler = self._scaler
        if now % scaler.sync:
            return
        load = messages / self._settings.batch_size
        enough = abs(load / self.replicas - 1) <= scaler.tolerance
        wanted = self.replicas if enough else min(math.ceil(load), self._settings.max_concurrent_runs)
        self._recommended.append((now, max(wanted, scaler.min_replicas)))
        while self._recommended[0][0] <= now - scaler.stabilization:
            self._recommended.popleft()
        self.replicas = max(wanted for _, wanted in self._recommended)
