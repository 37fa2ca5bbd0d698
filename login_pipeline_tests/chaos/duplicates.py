"""The faults that are one message delivered more than once, by SQS's own doing or because a run took too long."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from login_pipeline_tests.chaos.between import sqs_proxy
from login_pipeline_tests.chaos.fault import FEW, Fault
from login_pipeline_tests.chaos.queue_faults import FOR_EVER, calls_break
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.tables import make_tables
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.conftest import Database
from login_pipeline_tests.faults.sqs_faults import (
    Hold,
    deleted_and_delivered_again,
    entry_fails,
    handed_back_at_once,
    twice,
    with_request,
)

NEVER_HIDDEN = with_request(VisibilityTimeout=0)
HIDDEN_FOR_A_SECOND = with_request(VisibilityTimeout=1)

_SLOW = """
    CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep({seconds});
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION slow();
"""


def twice_in_two_batches(world: World, source: random.Random) -> None:
    """A run loads and cannot delete some; the next one receives them again."""
    with sqs_proxy(world) as proxy:
        failing = slice(0, source.randrange(1, 11))
        proxy.on("DeleteMessageBatch", entry_fails("InternalError", senders_fault=False, entries=failing))
        proxy.on("ChangeMessageVisibilityBatch", handed_back_at_once)
        world.run()
    world.run()


def twice_in_two_runs(world: World, source: random.Random) -> None:
    """Two runs have the same messages, and delete none before both have something to delete."""
    deletes = Hold()
    with sqs_proxy(world) as proxy:
        proxy.on("ReceiveMessage", NEVER_HIDDEN)
        proxy.on("DeleteMessageBatch", deletes)
        runs = [world.start()]
        runs[0].listen(seconds=source.uniform(0, 0.5))
        runs.append(world.start())
        try:
            deletes.wait(2)
        finally:
            deletes.let_go()
        for run in runs:
            world.ended(run)


def again_after_the_delete(world: World, source: random.Random) -> None:
    """SQS says that messages are deleted, and delivers them again, as it may."""
    with sqs_proxy(world) as proxy:
        proxy.on("ReceiveMessage", HIDDEN_FOR_A_SECOND)
        proxy.on("DeleteMessageBatch", deleted_and_delivered_again, times=source.choice((1, 2, FOR_EVER)))
        world.run()
    time.sleep(1)
    world.run()


def visibility_expires(world: World, source: random.Random) -> None:
    """The database is so slow that the messages are delivered to another run, which waits behind the first."""
    make_tables(world)
    with sqs_proxy(world) as proxy, _slow_database(world.database, seconds=source.uniform(0.05, 0.15)):
        proxy.on("ReceiveMessage", HIDDEN_FOR_A_SECOND)
        first = world.start()
        first.reaches(Moment("after", Step.COPY), seconds=5)
        first.listen(seconds=source.uniform(0.5, 1.5))
        second = world.start()
        world.ended(first)
        world.ended(second)


@contextmanager
def _slow_database(database: Database, *, seconds: float) -> Iterator[None]:
    """Each row takes so long."""
    database.query(_SLOW.format(seconds=seconds))
    try:
        yield
    finally:
        database.query("DROP FUNCTION slow() CASCADE")


DUPLICATES = (
    Fault(
        "twice in one batch", calls_break(["ReceiveMessage"], lambda source: source.choice((twice, NEVER_HIDDEN))), FEW
    ),
    Fault("twice in two batches", twice_in_two_batches, FEW),
    Fault("twice in two runs at once", twice_in_two_runs, FEW),
    Fault("again after its delete", again_after_the_delete, FEW),
    Fault("visibility expires in a run", visibility_expires, FEW),
)
