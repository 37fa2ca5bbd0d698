"""The faults of SQS, and of the way to it: it refuses, says nothing, or does what it is asked and cannot say so."""

import random
from collections.abc import Callable, Sequence

from login_pipeline_tests.chaos.between import sqs_proxy
from login_pipeline_tests.chaos.changes import hang_up_soon
from login_pipeline_tests.chaos.fault import FEW, Cycle, Fault, until_hit
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.faults import sqs_faults
from login_pipeline_tests.faults import sqs_proxy as proxies

SQS_ACTIONS = ("GetQueueAttributes", "ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch", "*")
FOR_EVER = float("inf")
# Calls that break: the SDK calls again after one and after three, and gives up after five.
TIMES = (1, 3, FOR_EVER)
# Calls that succeed before; some actions are called once a run.
FIRST = (0, 0, 1, 4)

Choice = Callable[[random.Random], proxies.Fault]


def calls_break(actions: Sequence[str], choose: Choice, *, times: Sequence[float] = TIMES) -> Cycle:
    """Some calls of one of the actions, or all of them from one on, are answered by a fault."""

    def attempt(world: World, source: random.Random) -> bool:
        fault = sqs_faults.Some(choose(source), first=source.choice(FIRST), times=source.choice(times))
        with sqs_proxy(world) as proxy:
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
    with sqs_proxy(world) as proxy, world.giving(hang_up_soon):
        proxy.on(source.choice(SQS_ACTIONS), fault)
        try:
            world.run()
        finally:
            silence.let_go()
    return fault.hits > 0


THROTTLED = (sqs_faults.THROTTLED, sqs_faults.RATE_EXCEEDED, sqs_faults.UNAVAILABLE, sqs_faults.OVER_LIMIT)
REVOKED = (sqs_faults.ACCESS_DENIED, sqs_faults.EXPIRED_TOKEN)
STALE = (sqs_faults.with_request(ReceiptHandle="stale"),)

QUEUE_FAULTS = (
    Fault("queue unreachable", calls_break(SQS_ACTIONS, _one_of(sqs_faults.cut_before)), FEW),
    Fault("queue slow", calls_break(["*"], _slow, times=[FOR_EVER]), FEW),
    Fault("queue half-open", queue_half_open, FEW),
    Fault("queue throttled", calls_break(SQS_ACTIONS, _one_of(*THROTTLED)), FEW),
    Fault("access revoked", calls_break(SQS_ACTIONS, _one_of(*REVOKED)), FEW),
    Fault("answer to receive lost", calls_break(["ReceiveMessage"], _one_of(sqs_faults.cut_after)), FEW),
    Fault("answer to delete lost", calls_break(["DeleteMessageBatch"], _one_of(sqs_faults.cut_after)), FEW),
    Fault("answer to dead letter lost", calls_break(["SendMessageBatch"], _one_of(sqs_faults.cut_after)), FEW),
    Fault("deletes fail in part", calls_break(["DeleteMessageBatch"], _fails_in_part), FEW),
    Fault("stale receipt handles", calls_break(["DeleteMessageBatch"], _one_of(*STALE)), FEW),
)
