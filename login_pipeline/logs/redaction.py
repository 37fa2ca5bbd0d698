"""Keeps what an unexpected error says out of Dagster's storage and out of the logs: it may quote a message.

Errors of the pipeline (errors.py) stay readable: Dagster shows the description of the Failure that each becomes.
"""

import logging
import os
import traceback

from login_pipeline.errors import LoginPipelineError

# Whether Dagster redacts the errors of all code in a process.
REDACT = "DAGSTER_REDACT_USER_CODE_ERRORS"
# Where Dagster logs the errors that it redacts. Source: dagster/_core/errors.py.
LOGGER = "dagster.redacted_errors"


def redact_errors() -> None:
    """Turns Dagster's redaction on, unless the environment says otherwise, and shows where errors came from."""
    os.environ.setdefault(REDACT, "1")
    logger = logging.getLogger(LOGGER)
    logger.handlers = [RedactingErrorHandler()]
    logger.propagate = False


def code_locations(error: BaseException) -> list[str]:
    """The lines of code that an error came through, the place where it was raised last."""
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def pipeline_error(error: BaseException | None) -> LoginPipelineError | None:
    """The error of the pipeline that this is, or that it was raised from."""
    for each in (error, error and error.__cause__):
        if isinstance(each, LoginPipelineError):
            return each
    return None


class RedactingErrorHandler(logging.Handler):
    """Writes an error's class and the lines of code that it came through to stderr, and nothing that it says."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_AsText())

    def emit(self, record: logging.LogRecord) -> None:
        """Leaves out the errors of the pipeline, whose sentence is reported elsewhere."""
        error = record.exc_info[1] if record.exc_info else None
        error = getattr(error, "user_exception", error)  # Dagster's DagsterUserCodeExecutionError has it
        if isinstance(error, Exception) and not pipeline_error(error):
            unwrapped = {**record.__dict__, "exc_info": (type(error), error, error.__traceback__)}
            stream = logging.StreamHandler()
            stream.setFormatter(self.formatter)
            stream.emit(logging.makeLogRecord(unwrapped))


class _AsText(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        assert record.exc_info and record.exc_info[1]  # noqa: S101, PT018 - the handler passes on nothing else
        error = record.exc_info[1]
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{record.getMessage()}: {type(error).__name__}\n{frames}"
