"""What a fault is: something that goes wrong once a cycle, and is over when the cycle is."""

import random
from collections.abc import Callable
from typing import NamedTuple

from login_pipeline_tests.chaos.world import World

# The share of a fault whose moments are few, or whose cycles take long.
FEW = 0.25
# Attempts to hit a run: it may end before, and one without a malformed message never sends to quarantine.
TRIES = 50

# One cycle: does its harm to runs in this world, and leaves the services working. All chance is the source's.
Cycle = Callable[[World, random.Random], None]


class Fault(NamedTuple):
    """A row of the table. It goes through `share` times as many cycles as others."""

    name: str
    cycle: Cycle
    share: float = 1


def until_hit(attempt: Callable[[World, random.Random], bool]) -> Cycle:
    """A cycle of as many attempts as it takes until one says that the fault has hit a run."""

    def cycle(world: World, source: random.Random) -> None:
        for _ in range(TRIES):
            world.top_up(source)
            if attempt(world, source):
                return
        raise AssertionError(f"{TRIES} runs ended, and the fault hit none")

    return cycle
