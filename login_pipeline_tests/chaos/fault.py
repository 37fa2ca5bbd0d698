"""What a fault is: something that goes wrong once a cycle, and is over when the cycle is."""

import random
from collections.abc import Callable
from typing import NamedTuple

from login_pipeline_tests.chaos.world import World

Cycle = Callable[[World, random.Random], None]
"""One cycle: does its harm to runs in this world, and leaves the services working. All chance is the source's."""


class Fault(NamedTuple):
    """A row of the table. It goes through `share` times as many cycles as others."""

    name: str
    cycle: Cycle
    share: int = 1
