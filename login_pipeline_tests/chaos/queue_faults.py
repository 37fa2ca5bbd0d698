"""The faults of SQS, and of the way to it.

It refuses, says nothing, or does what it is asked and cannot say so; and it delivers one message more than once, as
it may, or because a run took too long.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from login_pipeline_tests.chaos.changes import hang_up_soon
from login_pipeline_tests.chaos.fault import FEW, Cycle, Fault, until_hit
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.conftest import Database
from login_pipeline_tests.faults import sqs_faults
from login_pipeline_tests.faults import sqs_proxy as proxies

SQS_ACTIONS = ("GetQueueAttributes", "ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch", "*")
FOREVER = float("inf")
# Calls that break: the SDK calls again after one and after three, and gives up after five.
TIMES = (1, 3, FOREVER)
# Calls that succeed before; some actions are called once a run.
FIRST = (0, 0, 1, 4)

NEVER_HIDDEN = sqs_faults.with_request(VisibilityTimeout=0)
HIDDEN_FOR_A_SECOND = sqs_faults.with_request(VisibilityTimeout=1)
_SLOW = """
    CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep({seconds});
        RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION slow();
"""

Choice = Callable[[random.Random], proxies.Fault]


def calls_break(actions: Sequence[str], choose: Choice, *, times: Sequence[float] = TIMES) -> Cycle:
    """Some calls of one of the actions, or all of them from one on, are answered by a fault."""

    def attempt(world: World, source: random.Random) -> bool:
        fault = sqs_faults.Some(choose(source), first=source.choice(FIRST), times=source.choice(times))
        with world.sqs_proxy() as proxy:
            proxy.on(source.choice(actions), fault)
            world.run()
        return fault.hits > 0

    return until_hit(attempt)


def _one_of(*faults: proxies.Fault) -> Choice:
    return lambda source: source.choice(faults)


def _slow(source: random.Random) -> proxies.Fault:
    return sqs_faults.after_seconds(source.uniform(0.05, 0.3))


def _fails_in_part(source: random.Random) -> proxies.Fault:
    code, senders_fault = source.choice((("InternalError", False), ("ReceiptHandleIsInvalid", True)))
    first = source.randrange(3)
    return sqs_faults.entry_fails(code, senders_fault=senders_fault, entries=slice(first, source.randrange(first, 10)))


@until_hit
def queue_half_open(world: World, source: random.Random) -> bool:
    """Calls are not answered, and arrive after the run has ended."""
    silence = sqs_faults.Hold()
    fault = sqs_faults.Some(silence, first=source.choice(FIRST), times=source.choice((1, 2)))
    with world.sqs_proxy() as proxy, world.giving(hang_up_soon):
        proxy.on(source.choice(SQS_ACTIONS), fault)
        try:
            world.run()
        finally:
            silence.let_go()
    return fault.hits > 0


def twice_in_two_batches(world: World, source: random.Random) -> None:
    """A run loads and cannot delete some; the next one receives them again."""
    failing = slice(0, source.randrange(1, 11))
    with world.sqs_proxy() as proxy:
        fails = sqs_faults.entry_fails("InternalError", senders_fault=False, entries=failing)
        proxy.on("DeleteMessageBatch", fails)
        proxy.on("ChangeMessageVisibilityBatch", sqs_faults.released_at_once)
        world.run()
    world.run()


def twice_in_two_runs(world: World, source: random.Random) -> None:
    """Two runs have the same messages, and delete none before both have something to delete."""
    deletes = sqs_faults.Hold()
    with world.sqs_proxy() as proxy:
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
    with world.sqs_proxy() as proxy:
        proxy.on("ReceiveMessage", HIDDEN_FOR_A_SECOND)
        times = source.choice((1, 2, FOREVER))
        proxy.on("DeleteMessageBatch", sqs_faults.deleted_and_delivered_again, times=times)
        world.run()
    time.sleep(1)
    world.run()


def visibility_expires(world: World, source: random.Random) -> None:
    """The database is so slow that the messages are delivered to another run, which waits behind the first."""
    world.make_tables()
    with world.sqs_proxy() as proxy, _slow_database(world.database, seconds=source.uniform(0.05, 0.15)):
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


THROTTLED = _one_of(sqs_faults.THROTTLED, sqs_faults.RATE_EXCEEDED, sqs_faults.UNAVAILABLE, sqs_faults.OVER_LIMIT)
REVOKED = _one_of(sqs_faults.ACCESS_DENIED, sqs_faults.EXPIRED_TOKEN)
STALE = _one_of(sqs_faults.with_request(ReceiptHandle="stale"))
TWICE = _one_of(sqs_faults.twice, NEVER_HIDDEN)
ANSWER_LOST = _one_of(sqs_faults.cut_after)

QUEUE_FAULTS = (
    Fault("queue unreachable", calls_break(SQS_ACTIONS, _one_of(sqs_faults.cut_before)), FEW),
    Fault("queue slow", calls_break(["*"], _slow, times=[FOREVER]), FEW),
    Fault("queue half-open", queue_half_open, FEW),
    Fault("queue throttled", calls_break(SQS_ACTIONS, THROTTLED), FEW),
    Fault("access revoked", calls_break(SQS_ACTIONS, REVOKED), FEW),
    Fault("answer to receive lost", calls_break(["ReceiveMessage"], ANSWER_LOST), FEW),
    Fault("answer to delete lost", calls_break(["DeleteMessageBatch"], ANSWER_LOST), FEW),
    Fault("answer to dead letter lost", calls_break(["SendMessageBatch"], ANSWER_LOST), FEW),
    Fault("deletes fail in part", calls_break(["DeleteMessageBatch"], _fails_in_part), FEW),
    Fault("stale receipt handles", calls_break(["DeleteMessageBatch"], STALE), FEW),
    Fault("twice in one batch", calls_break(["ReceiveMessage"], TWICE), FEW),
    Fault("twice in two batches", twice_in_two_batches, FEW),
    Fault("twice in two runs at once", twice_in_two_runs, FEW),
    Fault("again after its delete", again_after_the_delete, FEW),
    Fault("visibility expires in a run", visibility_expires, FEW),
)
