"""What is run: every scenario, and on how many messages."""

from collections.abc import Mapping
from typing import NamedTuple

LATENCY_MS = 15
MEMORY_BATCH = 50_000
# All backlogs are drained in batches of the smallest one, by a process that has drained one before: what a process does
# once is none of the backlog's cost.
BACKLOGS = (10_000, 100_000)
RUN_SIZES = (1_000, 100_000)


class Contender(NamedTuple):
    """A module that drains a queue; `keeps_promises`: it has an inbox and a dead-letter queue."""

    module: str
    keeps_promises: bool


PLAIN = Contender("benchmarks.contenders.plain_script", keeps_promises=False)
OURS = Contender("benchmarks.contenders.ours", keeps_promises=True)


class Scenario(NamedTuple):
    """One contender on a backlog of so many messages, at so much latency for each call, as so many processes.

    `warm_up` is how many more messages there are, which the contender drains before the clock starts.
    """

    name: str
    contender: Contender
    messages: int
    latency_ms: int
    processes: int = 1
    settings: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()
    warm_up: int = 0


def scenarios() -> list[Scenario]:
    """Those of each round, in their order; each takes some seconds."""
    return [
        Scenario("plain_0", PLAIN, 3_000, 0),
        Scenario("ours_0", OURS, 100_000, 0),
        Scenario("two_0", OURS, 100_000, 0, processes=2),
        Scenario("plain_15", PLAIN, 300, LATENCY_MS),
        Scenario("ours_15", OURS, 200_000, LATENCY_MS),
        *_backlogs() * 2,  # a small one takes half a second, and its noise a tenth
        *_runs(),
        Scenario("sensor_15", OURS, 200_000, LATENCY_MS),
    ]


def memory_scenario() -> Scenario:
    """A run of login_job on a full batch; several follow each other in one process."""
    return Scenario("memory", OURS, MEMORY_BATCH, 0, settings=_batch(MEMORY_BATCH))


def _backlogs() -> list[Scenario]:
    """There and back, so that what slows the machine down slows both."""
    batch = min(BACKLOGS)
    there = [
        Scenario(f"backlog_{size}", OURS, size, 0, settings=_batch(batch), arguments=("--warm-up",), warm_up=batch)
        for size in BACKLOGS
    ]
    return [*there, *reversed(there)]


def _runs() -> list[Scenario]:
    """The same messages as one batch: by the bare engine's process, and by a run's."""
    return [
        Scenario(f"{name}_{size}", OURS, size, 0, settings=_batch(size), arguments=("--one-batch",))
        for size in RUN_SIZES
        for name in ("bare_run", "dagster_run")
    ]


def _batch(size: int) -> dict[str, str]:
    return {"LOGIN_BATCH_SIZE": str(size), "LOGIN_MAX_CONCURRENT_RUNS": "1"}
