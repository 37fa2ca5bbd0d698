"""Kills the primary of a cluster at each step of a load, and accounts for every message.

`python -m login_pipeline_tests.failover`, or `make failover-test`. It needs root and Debian's pg_auto_failover. Exit
codes: 0 every message is in one place, and no run failed whose cluster had a primary again within a minute.
"""

import argparse
import random
import secrets
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from login_pipeline.local.ports import wait_until
from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline.signals import raise_at_signals
from login_pipeline_tests.chaos.kills import MOMENTS
from login_pipeline_tests.chaos.run_process import kill_all
from login_pipeline_tests.chaos.seams import Moment
from login_pipeline_tests.chaos.world import RUN_SECONDS, World
from login_pipeline_tests.failover.formation import Formation, formation

# Seconds. A run that loads goes on for 80 % of it: longer than a promotion may take.
VISIBILITY_TIMEOUT = "120"
MAX_PROMOTION = 60.0
DRAIN_SECONDS = 300.0
# None: before a run begins.
WHEN: Sequence[Moment | None] = [None, *MOMENTS]
HEAD = "| the primary dies | failovers | promotion, median s | longest s | failed runs |\n|---|---|---|---|---|\n"


class Failover(NamedTuple):
    """When the primary died, for how many seconds nobody took writes, and how many steps of the run failed."""

    when: Moment | None
    seconds: float
    failures: list[str]

    @property
    def wrong(self) -> bool:
        """Whether the run failed although there was a primary in time."""
        return bool(self.failures) and self.seconds < MAX_PROMOTION


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m login_pipeline_tests.failover", description=__doc__)
    parser.add_argument("--failovers", type=int, default=50)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="repeats the messages")
    given = parser.parse_args()
    raise_at_signals()
    started = time.monotonic()
    source = random.Random(given.seed)  # noqa: S311 - to be repeated, not to be secret
    failovers: list[Failover] = []
    try:
        with _world() as (world, nodes):
            world.make_tables()
            for number in range(given.failovers):
                failovers.append(_fail_over(world, nodes, WHEN[number % len(WHEN)], source))
                sys.stderr.write(f"{number + 1}/{given.failovers} {_name(failovers[-1].when)}: {failovers[-1][1:]}\n")
                nodes.wait_until_whole()
            drained = world.drain(seconds=DRAIN_SECONDS)
            account = world.account()
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(HEAD + "".join(map(_row, _by_moment(failovers))) + _row(("all", failovers)))
    sys.stdout.write(
        f"\n{account.sent} messages sent: {account.loaded} rows, {account.quarantined} on the dead-letter queue "
        f"({account.copies} copies), {account.waiting} still on the queue, {account.wrong} in a wrong place, "
        f"{account.lost} lost, {account.twice} twice. {time.monotonic() - started:.0f} s, seed {given.seed}\n"
    )
    for name, ids in account.examples.items():
        sys.stdout.write(f"{name}: {', '.join(ids[:5])}\n")
    return 0 if drained and account.balanced and not any(each.wrong for each in failovers) else 1


@contextmanager
def _world() -> Iterator[tuple[World, Formation]]:
    with (
        temporary_folder() as folder,
        local_services(folder / "services") as settings,
        formation(folder / "formation") as nodes,
    ):
        world = World({**settings, "LOGIN_DATABASE_URL": nodes.url}, folder / "runs")
        world.environment["LOGIN_VISIBILITY_TIMEOUT"] = VISIBILITY_TIMEOUT
        yield world, nodes


def _fail_over(world: World, nodes: Formation, when: Moment | None, source: random.Random) -> Failover:
    """One run, in the middle of which the primary dies; the node that died is started again when the run is over."""
    primary = nodes.primary()
    failed_before = len(world.failures)
    world.top_up(source)
    if when is None:
        kill_all(primary.keeper)
    run = world.start(die_at=when, victim=primary.keeper if when else None)
    while when and not run.reaches(when, seconds=RUN_SECONDS):  # it received nothing malformed
        assert world.ended(run).result.failures == []
        world.top_up(source)
        run = world.start(die_at=when, victim=primary.keeper)
    died = time.monotonic()
    assert wait_until(nodes.takes_writes, seconds=RUN_SECONDS), "no node was promoted"
    seconds = time.monotonic() - died
    world.ended(run)
    primary.process.wait()
    primary.start()
    return Failover(when, seconds, world.failures[failed_before:])


def _by_moment(failovers: Sequence[Failover]) -> Iterator[tuple[str, list[Failover]]]:
    for when in WHEN:
        if these := [each for each in failovers if each.when == when]:
            yield _name(when), these


def _name(when: Moment | None) -> str:
    return "before a run" if when is None else str(when)


def _row(these: tuple[str, Sequence[Failover]]) -> str:
    name, failovers = these
    seconds = [each.seconds for each in failovers]
    failed = sum(bool(each.failures) for each in failovers)
    return f"| {name} | {len(seconds)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} | {failed} |\n"


if __name__ == "__main__":
    sys.exit(main())
