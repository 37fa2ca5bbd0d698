"""Shows the whole way on embedded services: sample messages in, masked rows out."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from login_pipeline.cli.drain import drain
from login_pipeline.cli.output import drain_progress, show_checks, show_drain, show_rows
from login_pipeline.cli.runs import dagster_instance, run
from login_pipeline.cli.send import send_lines
from login_pipeline.local.sample_messages import sample_messages
from login_pipeline.logins.columns import NAMES
from login_pipeline.logs.setup import report_error
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues

MESSAGES = 100
ROWS_SHOWN = 6


def demo(services: dict[str, str]) -> int:
    """Runs the demo on the services in these settings; 0 when all went well, 1 when a run or a check failed."""
    os.environ.update(services)
    _title("A PostgreSQL and an SQS-speaking server run, on 127.0.0.1")
    settings = read_settings()
    queues, database = LoginQueues(settings), LoginDatabase(settings)
    sent = send_lines(queues.login_queue, (body.encode() for body in sample_messages(MESSAGES)))
    click.echo(f"{sent.messages} sample messages sent, some of them malformed on purpose")

    with dagster_instance() as instance:
        _title("login_job drained the queue")
        with drain_progress(settings.log_format) as progress:
            totals = drain(settings, instance, progress)
        show_drain(totals)

        _title(f"Some of the newest rows of user_logins, masks cut short ({ROWS_SHOWN} of them)")
        rows = database.newest_rows(max(totals.loaded, 1))
        show_rows(rows[:ROWS_SHOWN])
        click.echo(_what_the_masks_keep(rows))

        _title("The asset checks on the whole table")
        checked = run("user_logins_checks_job", instance)
        show_checks(checked.checks)
    left, quarantined = queues.login_queue.depth().visible, queues.dead_letter_queue.depth().visible
    loaded = database.count_rows()
    click.echo(f"\nIn user_logins: {loaded} rows. On the dead-letter queue: {quarantined}. Left on the queue: {left}.")
    for sentence in (*totals.failures, *checked.failures):
        report_error(sentence, "command_failed", exit_code=1)
    _title("What to try next")
    click.echo("make demo    again: 100 more logins, and the same people keep their masks")
    click.echo("make dev     the same under the Dagster UI, on http://127.0.0.1:3000, with the sensor on")
    click.echo("README.md    your own queue and database")
    return 0 if checked.passed and not totals.failures else 1


def _what_the_masks_keep(rows: Sequence[Sequence[Any]]) -> str:
    """Equal values still match: that is what the masks are for."""
    devices = Counter(row[NAMES.index("masked_device_id")] for row in rows)
    most = max(devices.values(), default=0)
    return f"{len(rows)} logins came from {len(devices)} devices, the busiest of them {most} times: equal values match."


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
