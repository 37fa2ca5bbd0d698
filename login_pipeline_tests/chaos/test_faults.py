"""Every fault of `make chaos` but the kills, once each: whatever breaks, each message has its one place."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from login_pipeline.local.services import temporary_folder
from login_pipeline_tests.chaos import changes
from login_pipeline_tests.chaos.campaign import campaign
from login_pipeline_tests.chaos.database_server import breakable_services
from login_pipeline_tests.chaos.duplicates import again_after_the_delete
from login_pipeline_tests.chaos.fault import Fault
from login_pipeline_tests.chaos.faults import BREAKDOWNS
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.conftest import Pipeline

SOON = (changes.come_back_soon, changes.release_soon)


@pytest.mark.timeout(600)  # half a minute, on a machine with nothing else to do
@pytest.mark.parametrize("faults", [BREAKDOWNS[::2], BREAKDOWNS[1::2]], ids=["one half", "the other half"])
def test_no_breakdown_loses_a_message_or_gives_one_two_rows(faults: Sequence[Fault]) -> None:
    with temporary_folder() as folder, breakable_services(folder) as (settings, server):
        world = World(settings, folder / "runs", server=server, more_folders=(folder / "database" / "postgresql",))
        world.changes = SOON
        outcome = campaign(faults, world, cycles=1, seed="make test")
    assert outcome.account.examples == {}
    assert outcome.leaks == {}
    assert outcome.passed
    assert outcome.cycles == len(faults)
    assert outcome.account.loaded > 50
    assert outcome.account.quarantined > 10
    assert not [sentence for sentence in outcome.failures if sentence.startswith("Step ")]  # one that nobody foresaw


def test_account_tells_when_a_message_that_comes_again_gets_a_second_row(pipeline: Pipeline, tmp_path: Path) -> None:
    world = World(pipeline.environment, tmp_path)
    world.changes = (*SOON, changes.load_without_inbox)
    source = random.Random(1)  # noqa: S311
    world.top_up(source)
    again_after_the_delete(world, source)
    assert world.drain(seconds=60)
    assert world.account().twice > 0
