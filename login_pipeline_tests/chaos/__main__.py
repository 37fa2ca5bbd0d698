"""Runs every fault's campaign and prints the table: `python -m login_pipeline_tests.chaos`, or `make chaos`."""

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event

from rich.console import Console

from login_pipeline.signals import raise_at_signals
from login_pipeline_tests.chaos.campaign import FAULTS, Outcome, breakable_world, campaign
from login_pipeline_tests.chaos.fault import Fault
from login_pipeline_tests.chaos.table import show, what_went_wrong

# Of a fault with share 1; all kills together are over 1,000 then.
CYCLES = 40
# Campaigns at once, each with its own services. A campaign mostly waits: for visibility timeouts, and for SQS.
AT_ONCE = 2


def main() -> int:
    """0 when every message of every campaign has its one place; 1 otherwise."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m login_pipeline_tests.chaos", description=__doc__)
    parser.add_argument(
        "--cycles",
        type=int,
        default=CYCLES,
        help="of a fault of share 1; others a quarter of it or 4 times so many",
    )
    parser.add_argument("--seed", default="", help="repeats the messages and the moments of another time")
    parser.add_argument("--fault", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="campaigns at once")
    arguments = parser.parse_args()
    seed = arguments.seed or secrets.token_hex(4)
    faults = [fault for fault in FAULTS if fault.name in (arguments.fault or names)]
    raise_at_signals()
    console = Console(stderr=True)
    console.print(f"seed {seed}, {len(faults)} faults")
    started = time.monotonic()
    try:
        outcomes = _campaigns(faults, arguments.cycles, seed, arguments.at_once, console)
    except KeyboardInterrupt:
        return 130
    show(outcomes, seed=seed, cycles=arguments.cycles, seconds=time.monotonic() - started)
    return 0 if all(isinstance(outcome, Outcome) and outcome.passed for outcome in outcomes.values()) else 1


def _campaigns(
    faults: Sequence[Fault], cycles: int, seed: str, at_once: int, console: Console
) -> dict[str, Outcome | Exception]:
    """What each campaign left behind, by the fault's name; or what it failed with."""
    interrupted = Event()

    def campaign_of(fault: Fault) -> Outcome:
        with breakable_world() as world:
            return campaign([fault], world, cycles=cycles, seed=seed, interrupted=interrupted.is_set)

    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(campaign_of, fault): fault.name for fault in faults}
        try:
            for number, future in enumerate(as_completed(running), start=1):
                console.print(f"{number}/{len(faults)}  {running[future]}: {_in_words(_outcome(future))}")
        except KeyboardInterrupt:
            interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {name: _outcome(future) for future, name in running.items()}


def _outcome(future: Future[Outcome]) -> Outcome | Exception:
    error = future.exception()
    return error if isinstance(error, Exception) else future.result()


def _in_words(outcome: Outcome | Exception) -> str:
    if isinstance(outcome, Exception):
        return f"did not finish ({outcome!r})"
    verdict = "kept its promises" if outcome.passed else f"BROKE A PROMISE ({'; '.join(what_went_wrong(outcome))})"
    return f"{verdict} in {outcome.seconds:.0f} s, {outcome.kills} killed"


if __name__ == "__main__":
    sys.exit(main())
