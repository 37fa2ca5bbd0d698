"""What this project promises of its speed: every target, in one place."""

from typing import NamedTuple


class Target(NamedTuple):
    """A figure that must be `limit` at most, or at least."""

    id: str
    says: str
    unit: str
    limit: float
    at_least: bool = False

    def is_met(self, figure: float) -> bool:
        """Whether the figure is within the limit."""
        return figure >= self.limit if self.at_least else figure <= self.limit


TARGETS = (
    Target("cpu", "client CPU a message, the whole way, no latency", "us", 45),
    Target("against_plain", "times less client CPU than the plain script, no latency", "x", 25, at_least=True),
    Target("rate", "one process, 15 ms a call", "messages/s", 12_000, at_least=True),
    Target("two_processes", "CPU a message with two processes at once, against one", "% more", 10),
    Target("dagster_run", "CPU of a Dagster run more than the bare engine's, for the same messages", "s", 2),
    Target(
        "sensor_drain",
        "a drain by the sensor, the daemon's start included, 15 ms a call, against one bare process",
        "% of its rate",
        60,
        at_least=True,
    ),
    Target("memory", "peak of a run at a batch of 50,000, over the idle process", "MB", 400),
    Target("memory_flat", "growth of that peak, from the first runs of a process to its last", "MB", 20),
    Target(
        "backlog",
        "CPU a message over the size of the backlog, in equal batches, the most against the least",
        "% more",
        10,
    ),
)
