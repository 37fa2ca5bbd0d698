"""Faults of `make chaos` but the kills, one of each kind: whichever breaks, each message has its one place."""

import gzip
from pathlib import Path

import pytest

from login_pipeline.postgres import statements
from login_pipeline_tests.chaos import changes
from login_pipeline_tests.chaos.campaign import BREAKDOWNS, breakable_world, campaign
from login_pipeline_tests.chaos.seams import STATEMENTS
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.conftest import Pipeline

# One of each kind, and what is in no test of faults/ as it is here. Each of the others has one there.
IN_MAKE_TEST = {
    "answer to COMMIT lost",
    "database restarted",
    "disk full",
    "poison",
    "rows refused by a trigger",
    "queue half-open",
    "queue throttled",
    "twice in two runs at once",
    "SIGTERM twice",
    "redrive killed",
    "expiry killed",
}


@pytest.mark.timeout(600)  # half a minute, on a machine with nothing else to do
def test_no_breakdown_loses_a_message_or_gives_one_two_rows() -> None:
    faults = [fault for fault in BREAKDOWNS if fault.name in IN_MAKE_TEST]
    with breakable_world() as world:
        world.changes = (changes.come_back_soon, changes.release_soon)
        outcome = campaign(faults, world, cycles=1, seed="make test")
    assert outcome.account.examples == {}
    assert outcome.leaks == {}
    assert outcome.passed
    assert outcome.cycles == len(IN_MAKE_TEST)
    assert outcome.account.loaded > 50
    assert outcome.account.quarantined > 10
    assert not [sentence for sentence in outcome.failures if sentence.startswith("Step ")]  # one that nobody foresaw


def test_what_is_listened_for_is_what_the_pipeline_executes() -> None:
    executed = [each for file in vars(statements).values() if isinstance(file, tuple) for each in file]
    assert [pattern for pattern in STATEMENTS if not any(map(pattern.search, executed))] == []


def test_personal_data_is_found_in_any_table_and_in_any_file(pipeline: Pipeline, tmp_path: Path) -> None:
    world = World(pipeline.environment, tmp_path)
    world.database.query("CREATE SCHEMA elsewhere")
    world.database.query(
        "CREATE TABLE elsewhere.rows AS SELECT jsonb_build_object('ip', '2001:db8:c1ea::7:1') AS login"
    )
    (tmp_path / "binary").write_bytes(b"\x00\xff" + gzip.compress(b"in-clear-7") + b" 203.0.113.7")
    (tmp_path / "clean").write_text("k1.0123456789abcdef")
    assert world.leaks() == {"elsewhere.rows": 1, str(tmp_path / "binary"): 2}
