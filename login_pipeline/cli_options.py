"""What the commands share: their exit codes, and the option --json."""

import click

DONE, FAILED, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 130

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout.")
