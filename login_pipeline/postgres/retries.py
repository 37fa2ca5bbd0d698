"""Tries again what a restart or a failover of the database cut off."""

import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import TypeVar

from login_pipeline.errors import LoginPipelineError
from login_pipeline.logs.setup import process_log

# Seconds between attempts; the last one is repeated.
PAUSES: Sequence[float] = (1, 2)

Result = TypeVar("Result")


def retried(
    attempt: Callable[[], Result],
    *,
    seconds: float,
    passes: Callable[[LoginPipelineError], bool] = attrgetter("retryable"),
) -> Result:
    """What `attempt` returns; it is made again while its error passes and the time is not over.

    Raises:
        LoginPipelineError: what the last attempt raised.
    """
    until = time.monotonic() + seconds
    pauses = chain(PAUSES, repeat(PAUSES[-1]))
    waiting = False
    while True:
        try:
            return attempt()
        except LoginPipelineError as error:
            pause = next(pauses)
            # An attempt with less time than that would fail for want of it, and its sentence would say so.
            if not passes(error) or time.monotonic() + 2 * pause > until:
                raise
            if not waiting:
                waiting = True
                process_log().warning("waiting_for_database", because=error.sentence)
        time.sleep(pause)
