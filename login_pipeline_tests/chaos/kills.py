"""The faults that are the death of a run: at each moment that matters, and at random ones."""

import random
from itertools import product

from login_pipeline_tests.chaos.fault import Cycle, Fault
from login_pipeline_tests.chaos.run_process import RunProcess
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.world import World

MOMENTS = [Moment(when, step) for step, when in product(Step, ("before", "after"))]

# Seconds in which a run ends on an idle machine; a random moment is drawn from them.
LONGEST_RUN = 1.2
# The same, where Dagster's storage in PostgreSQL records it.
LONGEST_RECORDED_RUN = 3.0
# Seconds from the first messages in hand to the last delete.
LONGEST_LOAD = 0.4
# Runs that may end before their moment comes: one without a malformed message never sends to quarantine.
TRIES = 50


def kill_at(moment: Moment) -> Cycle:
    """The run kills itself at the moment, so it is hit every time."""

    def cycle(world: World, source: random.Random) -> None:
        for _ in range(TRIES):
            world.top_up(source)
            if world.run(die_at=moment).killed:
                return
        raise AssertionError(f"{TRIES} runs ended, and none was {moment}")

    return cycle


def kill_at_any_time(world: World, source: random.Random) -> None:
    """A run is killed from outside, while it starts, receives, loads or ends."""
    for _ in range(TRIES):
        world.top_up(source)
        if _killed(world, world.start(), after=source.uniform(0, LONGEST_RUN)):
            return
    raise AssertionError(f"{TRIES} runs ended before they were killed")


def kill_recorded_run(world: World, source: random.Random) -> None:
    """The same with Dagster's storage on, which must not keep what the run had in hand."""
    for _ in range(TRIES):
        world.top_up(source)
        if _killed(world, world.start(recorded=True), after=source.uniform(0, LONGEST_RECORDED_RUN)):
            return
    raise AssertionError(f"{TRIES} runs ended before they were killed")


def kill_with_messages_in_hand(world: World, source: random.Random) -> None:
    """A run is killed from outside, from the time on when there is something to lose."""
    for _ in range(TRIES):
        world.top_up(source)
        process = world.start()
        process.reaches(Moment("after", Step.RECEIVE), seconds=10)
        if _killed(world, process, after=source.uniform(0, LONGEST_LOAD)):
            return
    raise AssertionError(f"{TRIES} runs ended before they were killed")


def kill_one_of_two(world: World, source: random.Random) -> None:
    """Two runs at once, and one of them is killed."""
    world.top_up(source)
    other = world.start()
    kill_with_messages_in_hand(world, source)
    world.ended(other)


def _killed(world: World, process: RunProcess, *, after: float) -> bool:
    process.listen(seconds=after)
    process.kill()
    return world.ended(process).killed


KILLS = (
    *(Fault(f"kill {moment}", kill_at(moment)) for moment in MOMENTS),
    Fault("kill at any time", kill_at_any_time, share=4),
    Fault("kill at any time, recorded", kill_recorded_run),
    Fault("kill with messages in hand", kill_with_messages_in_hand, share=4),
    Fault("kill one of two runs", kill_one_of_two, share=4),
)
