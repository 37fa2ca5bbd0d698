"""What one run of one contender came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Measurement:
    """One run. CPU and time are in seconds; where several processes took part, CPU and messages are of all together.

    `cpu_seconds` is from the first message on, `process_cpu_seconds` of the whole processes, their start included;
    `server_cpu_seconds` and `database_cpu_seconds` are what SQS's and PostgreSQL's side used at the same time.
    `problems` says in what the outcome is wrong: then the run counts as failed, however fast it was.
    """

    scenario: str
    round: int
    messages: int
    seconds: float
    cpu_seconds: float
    process_cpu_seconds: float
    server_cpu_seconds: float = 0.0
    database_cpu_seconds: float = 0.0
    idle_mb: float | None = None
    peak_mb: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def messages_per_second(self) -> float:
        """By the clock, until the last message was deleted."""
        return self.messages / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """Client CPU a message, in microseconds."""
        return self.cpu_seconds / self.messages * 1e6

    @property
    def over_idle_mb(self) -> float | None:
        """The peak of memory over what the process had before its first message."""
        return None if self.peak_mb is None or self.idle_mb is None else self.peak_mb - self.idle_mb


Figure = Callable[[Measurement], float | None]


def of_scenario(measurements: Sequence[Measurement], scenario: str) -> list[Measurement]:
    """The runs of a scenario, in the order of the rounds. A run whose outcome was wrong counts for none."""
    return [each for each in measurements if each.scenario == scenario and not each.problems]


def middle(measurements: Sequence[Measurement], scenario: str, figure: Figure) -> float | None:
    """The median over the rounds; None where it was not measured."""
    found = [value for each in of_scenario(measurements, scenario) if (value := figure(each)) is not None]
    return median(found) if found else None
