"""What the commands share: exit codes, the option --json, counts in words, and the end of one that failed in part."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from login_pipeline.errors import ConfigurationError
from login_pipeline.logs.setup import report_error

DONE, FAILED, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 130

as_json = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on stdout.")


def counted(number: int, noun: str) -> str:
    """The number and the noun, whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@contextmanager
def extra(name: str, *, needed_by: str) -> Iterator[None]:
    """Around an import of what only this extra brings.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{needed_by} needs {error.name}, which is not installed; install the extra `{name}` of login-pipeline"
        ) from None


def end(problems: Iterable[str], *, passed: bool | None = None) -> NoReturn:
    """Reports the problems on stderr, a sentence each; the exit code is that of `passed`, or of no problem."""
    sentences = list(problems)
    for sentence in sentences:
        report_error(sentence, "command_failed", exit_code=FAILED)
    sys.exit(DONE if (not sentences if passed is None else passed) else FAILED)
