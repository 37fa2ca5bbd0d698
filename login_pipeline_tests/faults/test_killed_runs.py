"""Runs that are killed, and what becomes of their messages. `make chaos` does the same for longer."""

import random
from pathlib import Path

import pytest

from login_pipeline.ingest.load import FIRST_ROWS
from login_pipeline_tests.chaos import changes
from login_pipeline_tests.chaos.campaign import campaign
from login_pipeline_tests.chaos.kills import KILLS
from login_pipeline_tests.chaos.messages import drafts
from login_pipeline_tests.chaos.run_process import Change
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.conftest import Pipeline

# As many as a run loads in one transaction.
VALID = [draft for draft in drafts(random.Random(1), FIRST_ROWS) if draft.valid][:FIRST_ROWS]  # noqa: S311


@pytest.fixture
def world(pipeline: Pipeline, tmp_path: Path) -> World:
    world = World(pipeline.environment, tmp_path)
    world.changes = (changes.come_back_soon,)
    return world


def broken(world: World, *mutants: Change) -> World:
    world.changes += mutants
    world.send(VALID)
    return world


@pytest.mark.timeout(600)  # a minute, on a machine with nothing else to do
def test_killed_runs_lose_no_message_and_give_none_two_rows(world: World) -> None:
    outcome = campaign(KILLS, world, cycles=1, seed="make test")
    assert outcome.account.examples == {}
    assert outcome.leaks == {}
    assert outcome.passed
    assert outcome.kills == outcome.cycles > 20
    assert outcome.account.loaded > 50
    assert outcome.account.quarantined > 10


def test_account_reports_when_messages_are_deleted_before_the_commit(world: World) -> None:
    broken(world, changes.delete_before_commit)
    assert world.run(die_at=Moment("before", Step.COMMIT)).killed
    account = world.account()
    assert account.lost == account.sent
    assert not account.balanced


def test_account_reports_when_there_is_no_inbox(world: World) -> None:
    broken(world, changes.load_without_inbox)
    assert world.run(die_at=Moment("after", Step.COMMIT)).killed
    assert world.drain(seconds=60)
    account = world.account()
    assert account.twice >= account.sent
    assert not account.balanced


def test_leaks_tell_when_a_run_prints_what_it_received(world: World, tmp_path: Path) -> None:
    broken(world, changes.print_bodies).run()
    assert list(world.leaks()) == [str(tmp_path / "output.log")]


def test_drain_reports_when_nothing_is_deleted(world: World) -> None:
    assert not broken(world, changes.delete_nothing).drain(seconds=4)


@pytest.mark.parametrize(
    ("moment", "rows"), [(Moment("before", Step.COMMIT), 0), (Moment("after", Step.COMMIT), len(VALID))]
)
def test_killed_run_has_its_rows_only_after_the_commit(
    world: World, pipeline: Pipeline, moment: Moment, rows: int
) -> None:
    broken(world)
    assert world.run(die_at=moment).killed
    assert len(pipeline.database.logins()) == rows
