"""A campaign: many cycles of one fault, then the queue is drained and every message accounted for."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from login_pipeline_tests.chaos.account import Account
from login_pipeline_tests.chaos.fault import Fault
from login_pipeline_tests.chaos.world import World

# In which the queue must be empty after the last fault: the visibility timeout, and time to work.
DRAIN_SECONDS = 240.0


@dataclass(frozen=True)
class Outcome:
    """What a campaign left behind."""

    cycles: int
    kills: int
    drained: bool
    account: Account
    leaks: dict[str, int]
    failures: list[str]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.drained and self.account.balanced and not self.account.waiting and not self.leaks


def campaign(
    faults: Iterable[Fault], world: World, *, cycles: int, seed: str, interrupted: Callable[[], bool] = lambda: False
) -> Outcome:
    """Goes through `cycles` cycles of each fault on one world, and looks at it once they are over.

    Args:
        faults: What goes wrong, one after the other.
        world: Where; no message may have been sent to it.
        cycles: Of a fault with share 1.
        seed: The messages and the moments follow from it.
        interrupted: Asked before each cycle.

    Raises:
        InterruptedError: we were told to stop.
    """
    started = time.monotonic()
    gone_through = 0
    for fault in faults:
        source = random.Random(f"{seed} {fault.name}")  # noqa: S311 - to be repeated, not to be secret
        for _ in range(fault.cycles_of(cycles)):
            if interrupted():
                raise InterruptedError
            world.top_up(source)
            fault.cycle(world, source)
            gone_through += 1
    drained = world.drain(seconds=DRAIN_SECONDS)
    return Outcome(
        gone_through,
        world.kills,
        drained,
        world.account(),
        world.leaks(),
        world.failures,
        round(time.monotonic() - started, 1),
    )
