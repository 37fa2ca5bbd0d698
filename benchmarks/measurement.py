"""What one run of one contender came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One run. CPU and time are in seconds; where several processes took part, CPU and messages are of all together.

    `cpu_seconds` is from the first message on, `process_cpu_seconds` of the whole processes, their start included;
    `server_cpu_seconds` and `database_cpu_seconds` are what SQS's and PostgreSQL's side used meanwhile, None where it
    cannot be seen. `problems` says in what the outcome is wrong: then the run counts as failed, however fast it was.
    """

    scenario: str
    round: int
    messages: int
    seconds: float
    cpu_seconds: float
    process_cpu_seconds: float
    server_cpu_seconds: float | None
    database_cpu_seconds: float | None
    idle_mb: float | None = None
    peak_mb: float | None = None
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def messages_per_second(self) -> float:
        """By the clock, until the last message was deleted."""
        return self.messages / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """Client CPU a message, in microseconds."""
        return self.cpu_seconds / self.messages * 1e6

    @property
    def server_cpu_us(self) -> float | None:
        """CPU of SQS's side a message, in microseconds."""
        return None if self.server_cpu_seconds is None else self.server_cpu_seconds / self.messages * 1e6

    @property
    def database_cpu_us(self) -> float | None:
        """CPU of PostgreSQL a message, in microseconds."""
        return None if self.database_cpu_seconds is None else self.database_cpu_seconds / self.messages * 1e6

    @property
    def over_idle_mb(self) -> float | None:
        """The peak of memory over what the process had before its first message."""
        return None if self.peak_mb is None or self.idle_mb is None else self.peak_mb - self.idle_mb


Figure = Callable[[Measurement], float | None]


def of_scenario(measurements: Sequence[Measurement], scenario: str) -> list[Measurement]:
    """The runs of a scenario, in the order of the rounds."""
    return [each for each in measurements if each.scenario == scenario]


def values(measurements: Sequence[Measurement], scenario: str, figure: Figure) -> list[float]:
    """The figure in each round, where it was measured."""
    return [value for each in of_scenario(measurements, scenario) if (value := figure(each)) is not None]


def middle(measurements: Sequence[Measurement], scenario: str, figure: Figure) -> float | None:
    """The median over the rounds; None where it was not measured."""
    return median(found) if (found := values(measurements, scenario, figure)) else None
