"""The faults that are the death of a run: at each moment that matters, and at random ones."""

import random
from itertools import product

from login_pipeline_tests.chaos.fault import Cycle, Fault, until_hit
from login_pipeline_tests.chaos.run_process import RunProcess
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.world import World

MOMENTS = [Moment(when, step) for step, when in product(Step, ("before", "after"))]

# Seconds in which a run ends on an idle machine; a random moment is drawn from them.
LONGEST_RUN = 1.2
# The same, where Dagster's storage in PostgreSQL records it.
LONGEST_RECORDED_RUN = 3.0
# Seconds from the first message that is held to the last delete.
LONGEST_LOAD = 0.4


def kill_at(moment: Moment) -> Cycle:
    """The run kills itself at the moment, so it is hit every time."""
    return until_hit(lambda world, _source: world.run(die_at=moment).killed)


@until_hit
def kill_at_any_time(world: World, source: random.Random) -> bool:
    """A run is killed from outside, while it starts, receives, loads or ends."""
    return _killed(world, world.start(), after=source.uniform(0, LONGEST_RUN))


@until_hit
def kill_recorded_run(world: World, source: random.Random) -> bool:
    """The same with Dagster's storage on, which must not keep the messages that the run held."""
    with world.giving(**world.recorded):
        return _killed(world, world.start(), after=source.uniform(0, LONGEST_RECORDED_RUN))


@until_hit
def kill_with_messages_held(world: World, source: random.Random) -> bool:
    """A run is killed from outside, from the time on when there is something to lose."""
    process = world.start()
    process.reaches(Moment("after", Step.RECEIVE), seconds=10)
    return _killed(world, process, after=source.uniform(0, LONGEST_LOAD))


def kill_one_of_two(world: World, source: random.Random) -> None:
    """Two runs at once, and one of them is killed."""
    world.top_up(source)
    other = world.start()
    kill_with_messages_held(world, source)
    world.ended(other)


def _killed(world: World, process: RunProcess, *, after: float) -> bool:
    process.listen(seconds=after)
    process.kill()
    return world.ended(process).killed


KILLS = (
    *(Fault(f"kill {moment}", kill_at(moment)) for moment in MOMENTS),
    Fault("kill at any time", kill_at_any_time, share=4),
    Fault("kill at any time, recorded", kill_recorded_run),
    Fault("kill with messages in hand", kill_with_messages_held, share=4),
    Fault("kill one of two runs", kill_one_of_two, share=4),
)
