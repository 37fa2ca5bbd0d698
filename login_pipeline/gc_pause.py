"""Python's cycle collector, kept out of what handles a batch."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Has the collector wait until the block, or the function that is decorated with this, is left.

    A batch's objects hold no cycles, so they are freed without it when nobody needs them. But they are so many
    that it would look through all of them, and all of Dagster's and pandas', time and again: a quarter of a run's CPU.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
