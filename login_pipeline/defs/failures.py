"""Errors of the pipeline, as Dagster shows them."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from login_pipeline.errors import LoginPipelineError
from login_pipeline.logs.redaction import REDACT, code_locations


@contextmanager
def as_failure(figures: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
    """Raises an error of the pipeline as a Dagster Failure.

    Dagster shows a Failure's description as it is, in the UI and with DAGSTER_REDACT_USER_CODE_ERRORS=1. Beside other
    code, where nobody has decided on that variable, any other error becomes one, too, with its class and the lines of
    code that it came through: what it says may quote a login, and Dagster would store it.

    Args:
        figures: What was done before, for the Failure's metadata.
    """
    try:
        yield
    except LoginPipelineError as error:
        raise dg.Failure(error.sentence, metadata={**error.figures, **figures()}, allow_retries=False) from error
    except Exception as error:
        if REDACT in os.environ:
            raise
        code = code_locations(error)
        raise dg.Failure(
            f"It failed unexpectedly: {type(error).__name__} at {code[-1]}", metadata={"code": code, **figures()}
        ) from None
