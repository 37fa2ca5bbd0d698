"""Keeps what an unexpected error says out of Dagster's storage and out of the logs: it may quote a message.

Errors of our own (errors.py) stay readable, because Dagster shows a Failure's description all the same.
"""

import logging
import os
import traceback

import dagster as dg

LOGGER = "dagster.redacted_errors"
"""Where Dagster logs the errors that it redacts. Source: dagster/_core/errors.py."""


def redact_errors() -> None:
    """Turns Dagster's redaction on, unless the environment says otherwise, and shows where errors came from."""
    os.environ.setdefault("DAGSTER_REDACT_USER_CODE_ERRORS", "1")
    logger = logging.getLogger(LOGGER)
    logger.handlers = [_Whereabouts()]
    logger.propagate = False


class _Whereabouts(logging.Handler):
    """Writes an error's class and the lines of code that it came through to stderr, and nothing that it says."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, dg.DagsterUserCodeExecutionError):
            error = error.user_exception
        if isinstance(error, Exception) and not isinstance(error, dg.Failure):
            frames = "".join(traceback.format_tb(error.__traceback__))
            stream = logging.StreamHandler()
            stream.emit(logging.makeLogRecord({"msg": f"{record.getMessage()}: {type(error).__name__}\n{frames}"}))
