"""A campaign: many cycles of one fault, then the queue is drained and every message accounted for."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline_tests.chaos.database_faults import DATABASE_FAULTS
from login_pipeline_tests.chaos.database_server import DatabaseServer
from login_pipeline_tests.chaos.fault import Fault
from login_pipeline_tests.chaos.interruptions import INTERRUPTIONS
from login_pipeline_tests.chaos.kills import KILLS
from login_pipeline_tests.chaos.queue_faults import QUEUE_FAULTS
from login_pipeline_tests.chaos.reconcile import Account
from login_pipeline_tests.chaos.world import World

# All but the death of a run, and every fault there is, in the order of the table.
BREAKDOWNS = (*DATABASE_FAULTS, *QUEUE_FAULTS, *INTERRUPTIONS)
FAULTS = (*KILLS, *BREAKDOWNS)
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
    """Goes through the cycles of each fault on one world, and looks at it once they are over.

    Args:
        faults: What goes wrong, one after the other.
        world: Where; no message may have been sent to it.
        cycles: Of a fault with share 1.
        seed: The messages and the moments follow from it.
        interrupted: Asked before each cycle.

    Raises:
        InterruptedError: a signal asks for the end.
    """
    started = time.monotonic()
    gone_through = 0
    for fault in faults:
        source = random.Random(f"{seed} {fault.name}")  # noqa: S311 - to be repeated, not to be secret
        for _ in range(max(1, round(cycles * fault.share))):
            if interrupted():
                raise InterruptedError
            world.top_up(source)
            fault.cycle(world, source)
            gone_through += 1
    drained = world.drain(seconds=DRAIN_SECONDS)
    seconds = round(time.monotonic() - started, 1)
    return Outcome(gone_through, world.kills, drained, world.account(), world.leaks(), world.failures, seconds)


@contextmanager
def breakable_world() -> Iterator[World]:
    """A world on embedded services of its own, with a database server beside Dagster's that can be broken."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        settings = stack.enter_context(local_services(folder / "services"))
        server = DatabaseServer(folder / "database")
        stack.callback(server.stop)
        yield World(
            {**settings, "LOGIN_DATABASE_URL": server.url},
            folder / "runs",
            server=server,
            more_folders=(folder / "services" / "postgresql", folder / "database" / "postgresql"),
        )
