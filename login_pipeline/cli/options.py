"""What the commands share: their exit codes, the option --json, and how one ends that could not do all of it."""

import sys
from collections.abc import Iterable
from typing import NoReturn

import click

from login_pipeline.logs.setup import report_error

DONE, FAILED, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 130

as_json = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on stdout.")


def end(problems: Iterable[str]) -> NoReturn:
    """Reports the problems on stderr, a sentence each; the exit code says whether there were any."""
    sentences = list(problems)
    for sentence in sentences:
        report_error(sentence, "command_failed", exit_code=FAILED)
    sys.exit(FAILED if sentences else DONE)
