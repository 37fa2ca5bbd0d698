"""Errors of the pipeline, as Dagster shows them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from login_pipeline.errors import LoginPipelineError


@contextmanager
def as_failure(figures: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
    """Raises an error of the pipeline as a Dagster Failure.

    Dagster shows a Failure's description as it is, in the UI and with DAGSTER_REDACT_USER_CODE_ERRORS=1.

    Args:
        figures: What was done before, for the Failure's metadata.
    """
    try:
        yield
    except LoginPipelineError as error:
        raise dg.Failure(error.sentence, metadata={**error.figures, **figures()}, allow_retries=False) from error
