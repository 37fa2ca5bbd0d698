"""What is run: every scenario, and on how many messages."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

from benchmarks.dagster_run import measure_run
from benchmarks.measurement import Measurement
from benchmarks.measuring import OURS, OVERLAPPED, PLAIN, Contender, Scenario, measure
from benchmarks.queues import MALFORMED_MESSAGES
from benchmarks.sensor_drain import measure_sensor_drain
from benchmarks.surroundings import Surroundings
from login_pipeline.errors import ConfigurationError

MESSAGES = 100_000
"""Of the bare engine without latency; the other scenarios have their part of it, each enough for some seconds."""
MESSAGES_OF_A_GIVEN_SERVER = 2_000
LATENCY_MS = 15
MEMORY_BATCH = 50_000

Measure = Callable[[Scenario, Surroundings, int], Measurement]


class Planned(NamedTuple):
    """A scenario, what measures it, and in how many of the rounds at most."""

    scenario: Scenario
    measure: Measure = measure
    rounds: int = 1000


class Plan(NamedTuple):
    """A benchmark: the scenarios of each round, in their order; how often; and the runs for the memory.

    `backlogs`, `dagster_runs` and `bare_runs` are the names of scenarios, by their number of messages. All backlogs are
    drained in batches of the smallest one, by a process that has drained one before, so that nothing else differs.
    """

    rounds: int
    planned: list[Planned]
    memory: Scenario
    memory_runs: int
    backlogs: dict[int, str]
    bare_runs: dict[int, str]
    dagster_runs: dict[int, str]

    def only(self, names: Sequence[str]) -> Self:
        """The same with no other scenarios than these.

        Raises:
            ConfigurationError: there is no such scenario.
        """
        known = [scenario.name for scenario, _, _ in self.planned] + [self.memory.name]
        if unknown := [name for name in names if name not in known]:
            raise ConfigurationError(f"There is no scenario {', '.join(unknown)}; name one of {', '.join(known)}")
        planned = [each for each in self.planned if each.scenario.name in names]
        return self._replace(planned=planned, memory_runs=self.memory_runs if self.memory.name in names else 0)


def plan(*, full: bool, given_queues: bool, messages: int | None = None, rounds: int | None = None) -> Plan:
    """The benchmark of this size.

    Args:
        full: Whether it may take long: more rounds, larger backlogs, 100 runs in a process.
        given_queues: Whether the queues' server is somebody else's: its latency is what it is.
        messages: Instead of MESSAGES; everything else in proportion.
        rounds: Instead of 3, or 5.
    """
    of = messages or (MESSAGES_OF_A_GIVEN_SERVER if given_queues else MESSAGES)
    backlogs = {_part(of, each): f"backlog_{_part(of, each)}" for each in ((0.1, 0.5, 1, 5) if full else (0.1, 1))}
    sizes = (_part(of, 0.01), _part(of, 1))
    bare, dagster = ({size: f"{name}_{size}" for size in sizes} for name in ("bare_run", "dagster_run"))
    planned = _given(of) if given_queues else _own(of, full=full)
    planned += _backlogs(backlogs) * (1 if full else 2)  # a small one takes half a second, and its noise a tenth
    planned += _runs(bare, dagster)
    if not given_queues:
        sensor = Scenario("sensor_15", OURS, _part(of, 2), LATENCY_MS)
        planned.append(Planned(sensor, measure_sensor_drain, rounds=1000 if full else 2))
    batch = min(MEMORY_BATCH, _part(of, 0.5))
    return Plan(
        rounds=rounds or (5 if full else 3),
        planned=planned,
        memory=Scenario("memory", OURS, batch, 0, settings=_batch(batch)),
        memory_runs=100 if full else 10,
        backlogs=backlogs,
        bare_runs=bare,
        dagster_runs=dagster,
    )


def _own(of: int, *, full: bool) -> list[Planned]:
    """Each contender at each latency, on as many messages as take it some seconds."""
    parts: list[tuple[str, Contender, int, float, int]] = [
        ("plain_0", PLAIN, 0, 0.03, 1),
        ("overlapped_0", OVERLAPPED, 0, 0.2, 1),
        ("ours_0", OURS, 0, 1, 1),
        ("two_0", OURS, 0, 1, 2),
        ("plain_15", PLAIN, LATENCY_MS, 0.003, 1),
        ("overlapped_15", OVERLAPPED, LATENCY_MS, 0.2, 1),
        ("ours_15", OURS, LATENCY_MS, 2, 1),
    ]
    if full:
        parts.append(("two_15", OURS, LATENCY_MS, 1, 2))
    return [
        Planned(Scenario(name, contender, _part(of, part), latency, processes))
        for name, contender, latency, part, processes in parts
    ]


def _given(of: int) -> list[Planned]:
    return [
        Planned(Scenario("plain", PLAIN, _part(of, 0.1), None)),
        Planned(Scenario("overlapped", OVERLAPPED, _part(of, 1), None)),
        Planned(Scenario("ours", OURS, _part(of, 1), None)),
        Planned(Scenario("two", OURS, _part(of, 1), None, processes=2)),
    ]


def _backlogs(backlogs: Mapping[int, str]) -> list[Planned]:
    """There and back in each round. What a process does once, for its first batch, is none of the backlog's cost."""
    batch = min(backlogs)
    planned = [
        Planned(Scenario(name, OURS, size, 0, settings=_batch(batch), arguments=("--warm-up",), warm_up=batch))
        for size, name in backlogs.items()
    ]
    return [*planned, *reversed(planned)]


def _runs(bare: Mapping[int, str], dagster: Mapping[int, str]) -> list[Planned]:
    """The same messages as one batch: by the bare engine's process, and by a run's."""
    planned = []
    for size in bare:
        batch = _batch(size)
        planned.append(Planned(Scenario(bare[size], OURS, size, 0, settings=batch, arguments=("--one-batch",))))
        planned.append(Planned(Scenario(dagster[size], OURS, size, 0, settings=batch), measure_run))
    return planned


def _batch(size: int) -> dict[str, str]:
    return {"LOGIN_BATCH_SIZE": str(size), "LOGIN_MAX_CONCURRENT_RUNS": "1"}


def _part(of: int, part: float) -> int:
    """In whole receives of ten, and more than are malformed."""
    return max(round(of * part / 10) * 10, 2 * MALFORMED_MESSAGES)
