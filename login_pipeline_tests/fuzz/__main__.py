"""Runs so many hostile bodies, bare and in envelopes, through the parser and the masks: `make fuzz`."""

import argparse
import sys
import time
from collections import Counter
from itertools import islice
from random import Random

from login_pipeline_tests.fuzz.invariants import require_batch, require_body, require_opened
from login_pipeline_tests.fuzz.mutations import messages

BATCH = 1_000
EXAMPLES = 3


def fuzz(inputs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """What became of the bodies, by reason, and those that broke an invariant, the first few of them."""
    source = messages(Random(seed))  # noqa: S311 - to be replayed, not to be secret
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    for first in range(0, inputs, BATCH):
        batch = list(islice(source, min(BATCH, inputs - first)))
        contents: list[str] = []
        for sent in batch:
            try:
                contents.append(require_opened(sent))
                outcomes[require_body(contents[-1])] += 1
            except Exception as error:
                broken.append(f"{type(error).__name__}: {error!s:.200}\n  {sent.body!a:.2000}")
        try:
            require_batch(contents)
        except Exception as error:
            broken.append(f"{type(error).__name__}: {error!s:.200}\n  in the batch from input {first:,} on")
        if len(broken) >= EXAMPLES:
            break
    return outcomes, broken


def say(line: str) -> None:
    """Prints the line at once."""
    print(line, flush=True)  # noqa: T201 - a command's output


def main() -> int:
    """Prints the seed before and the figures after; 1 where an invariant is broken."""
    arguments = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    arguments.add_argument("--inputs", type=int, default=1_000_000)
    arguments.add_argument("--seed", type=int, default=Random().randrange(2**32))  # noqa: S311 - printed, to be replayed
    chosen = arguments.parse_args()
    say(f"{chosen.inputs:,} inputs from seed {chosen.seed}")
    started = time.monotonic()
    outcomes, broken = fuzz(chosen.inputs, chosen.seed)
    seconds = time.monotonic() - started
    for reason, count in sorted(outcomes.items()):
        say(f"  {reason:28} {count:>9,}")
    say(f"{outcomes.total():,} inputs in {seconds:.0f} s, {outcomes.total() / seconds:,.0f} a second")
    for each in broken:
        say(f"BROKEN {each}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
