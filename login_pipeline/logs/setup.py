"""Structured logs: with LOGIN_LOG_FORMAT=json, all that a process writes to stderr is one JSON object a line.

With `text` a person sees what the command says, and nothing of this.
"""

import atexit
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import click
import structlog
from structlog.typing import FilteringBoundLogger

from login_pipeline.errors import ConfigurationError
from login_pipeline.logs.c_stderr import c_stderr
from login_pipeline.logs.json_lines import HEAD, formatter
from login_pipeline.logs.redaction import RedactingErrorHandler
from login_pipeline.settings import LogFormat, read_log_settings

LOGGER = "login_pipeline"

# Where events go: a short fixed text, and by name what differs from line to line. That is ids, codes, counts, sentences
# of ours; never a body, a value from one, or a credential.
Log = FilteringBoundLogger


def set_up_logging() -> bool:
    """Makes stderr's lines JSON where LOGIN_LOG_FORMAT says so, and returns whether it does.

    Calling it again is harmless.

    Raises:
        ConfigurationError: LOGIN_LOG_FORMAT is neither text nor json.
    """
    if read_log_settings().log_format is not LogFormat.JSON:
        return False
    _route_every_logger()
    if not c_stderr.cache_info().currsize and c_stderr():
        atexit.register(log_c_stderr)
    logging.setLoggerClass(_ConsoleLogger)
    logging.raiseExceptions = False  # or a line that cannot be written is shown with its arguments, as text
    sys.excepthook = lambda _kind, error, _trace: process_log().error("unexpected_error", exc_info=error)
    threading.excepthook = lambda thread: process_log().error("unexpected_error", exc_info=thread.exc_value)
    sys.unraisablehook = lambda lost: process_log().error("error_that_nobody_could_catch", exc_info=lost.exc_value)
    warnings.showwarning = _log_warning
    return True


def process_log(**bound: str) -> Log:
    """Where a process logs what it does; each line has what is `bound` to it, such as a run's id."""
    ours = logging.getLogger(LOGGER)
    lowest = logging.INFO if ours.handlers else logging.CRITICAL  # below it, a call costs nothing
    log: Log = structlog.wrap_logger(
        ours,
        processors=[*HEAD, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
    )
    return log.bind(**bound)


def report_error(sentence: str, event: str, *, show: Callable[[], None] | None = None, **figures: str | int) -> None:
    """Reports on stderr what went wrong: the sentence, or what `show` shows; or a line of JSON with the figures."""
    json = False
    with suppress(ConfigurationError):  # about LOGIN_LOG_FORMAT: this may be the sentence that says so
        json = set_up_logging()
    if json:
        process_log().error(event, error=sentence, **figures)
    elif show:
        show()
    else:
        click.echo(sentence, err=True)


def report_warning(sentence: str, event: str) -> None:
    """Reports on stderr what to look at; as a line of JSON where that is chosen."""
    if set_up_logging():
        process_log().warning(event, warning=sentence)
    else:
        click.echo(sentence, err=True)


def log_c_stderr() -> None:
    """Logs what C libraries have printed since the last time; where stderr is text they printed it there."""
    stderr = c_stderr() if c_stderr.cache_info().currsize else None
    for sentence in stderr.take() if stderr else ():
        process_log().warning("c_library", warning=sentence)


class _ConsoleLogger(logging.Logger):
    """Dagster makes a logger of this class for each run and each tick, with a handler of its own for the console.

    The run's configuration could name another logger, but not for what is launched without any, such as the UI's
    Materialize. Source: dagster/_utils/log.py, create_console_logger.
    """

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - logging's name
        if _writes_to_the_console(hdlr):
            hdlr.setFormatter(formatter())
        super().addHandler(hdlr)


def _route_every_logger() -> None:
    """One handler writes what any logger says; ours passes nothing on, which a setting of Dagster's could store."""
    root = logging.getLogger()
    named = [logger for logger in logging.Logger.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for logger in (root, *named):
        for handler in list(logger.handlers):
            if _writes_to_the_console(handler):
                logger.removeHandler(handler)
            elif isinstance(handler, RedactingErrorHandler):
                handler.setFormatter(formatter())
    console = logging.StreamHandler()
    console.setFormatter(formatter())
    root.addHandler(console)
    ours = logging.getLogger(LOGGER)
    ours.addHandler(console)
    ours.propagate = False
    ours.setLevel(logging.INFO)


def _writes_to_the_console(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """The place says which warning it is; its text may quote a value."""
    process_log().warning("warning", category=category.__name__, code=[f"{filename}:{lineno}"])
