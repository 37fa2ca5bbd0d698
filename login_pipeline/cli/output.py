"""What the commands show a person. Progress goes to stderr and only to a terminal; results go to stdout."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from login_pipeline.backup.manifest import date_name
from login_pipeline.backup.reconcile import DateRestored
from login_pipeline.backup.restore import Restored
from login_pipeline.cli.doctor import Diagnosis
from login_pipeline.cli.options import counted
from login_pipeline.ingest.redrive import Redriven
from login_pipeline.logins.columns import NAMES
from login_pipeline.settings import LogFormat
from login_pipeline.sqs.queue import QueueDepth

if TYPE_CHECKING:  # they import Dagster
    from login_pipeline.cli.drain import Progress as DrainProgress
    from login_pipeline.cli.drain import Totals
    from login_pipeline.cli.runs import CheckResult

# Characters of a mask that are shown; it is longer than a line has room for.
MASK_SHOWN = 18


@contextmanager
def drain_progress(log_format: LogFormat) -> "Iterator[DrainProgress]":
    """A bar on a terminal: messages received, of those that were on the queue. None among lines of JSON."""
    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn("line"),  # the default one is not in every encoding
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal or log_format is LogFormat.JSON,
        transient=True,
    )
    with bar:
        task = bar.add_task("draining", total=None)

        def show(totals: "Totals", depth: QueueDepth) -> None:
            waiting = not depth.visible and (depth.in_flight or depth.delayed)
            description = f"waiting for {depth.in_flight + depth.delayed} in flight" if waiting else "draining"
            total = totals.received + depth.visible
            bar.update(task, completed=totals.received, total=total, description=description)

        yield show


def show(result: Mapping[str, Any], *, as_json: bool, as_text: Callable[[], None] | None = None) -> None:
    """The result as one JSON object; for a person a line a figure, or what `as_text` shows."""
    if as_json:
        click.echo(json.dumps(result, default=str))
    elif as_text:
        as_text()
    else:
        show_figures(result)


def show_drain(totals: "Totals") -> None:
    """The figures of a drain, and why messages were quarantined."""
    show_figures(totals.figures(), quarantined=totals.reasons)


def show_redrive(done: Redriven) -> None:
    """The figures of a redrive, and why messages were on the dead-letter queue."""
    figures = {name: value for name, value in done.figures().items() if name != "reasons"}
    show_figures(figures, examined=done.reasons)


def show_figures(figures: Mapping[str, Any], **parts: Mapping[str, int]) -> None:
    """A line a figure, and below it one for each of its parts."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in figures.items():
        table.add_row(name, _figure(value))
        for part, count in sorted(parts.get(name, {}).items()):
            table.add_row(Text(f"  {part}"), str(count), style="dim")
    _console().print(table)


def _figure(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else _printable(str(value))


def show_records(records: Sequence[Mapping[str, Any]]) -> None:
    """A line a record, each with the same names; what a sender wrote cannot move the cursor."""
    if not records:
        return
    table = Table(box=None, pad_edge=False)
    for name in records[0]:
        table.add_column(name.replace("_", " "), no_wrap=True, overflow="ignore")
    for record in records:
        table.add_row(*(Text("" if value is None else _printable(str(value))) for value in record.values()))
    _console().print(table, soft_wrap=True)


def show_restore(restored: Restored, checks: "Sequence[CheckResult]") -> None:
    """The dates on which there was something to do or to say, what was done, and the checks after it."""
    words = "would be restored" if restored.dry_run else "restored"
    click.echo(
        f"The backup of {restored.made_at:%Y-%m-%d %H:%M:%S} UTC holds {counted(restored.dates, 'date')}; {words}:"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("create_date", *DateRestored._fields[1:]):
        table.add_column(name.replace("_", " "), justify="left" if name == "create_date" else "right")
    for each in restored.touched:
        table.add_row(date_name(each.create_date), *(str(count) for count in each[1:]))
    _console().print(table if restored.touched else "nothing; the table has all of it")
    if restored.audit_records_added:
        click.echo(f"Records of erasures and unmaskings that were not in the database: {restored.audit_records_added}")
    if restored.withheld:
        click.echo(f"Rows in the backup of users who were erased since; they stay out: {restored.withheld}")
    show_checks(checks)


def show_checks(checks: "Sequence[CheckResult]") -> None:
    """A line a check, and what one counted that failed or warns."""
    for check in checks:
        counted = "" if check.passed else f"  {', '.join(f'{name}: {value}' for name, value in check.metadata.items())}"
        _show_verdict("passed", "FAILED", f"{check.name}{counted}", good=not check.failed, warns=check.warned)


def show_findings(findings: Sequence[Diagnosis]) -> None:
    """A line a finding."""
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        says = f"{finding.subject:{width}}  {finding.says}"
        _show_verdict("well", "WRONG", says, good=finding.well, warns=finding.warns)


def _show_verdict(yes: str, no: str, says: str, *, good: bool, warns: bool) -> None:
    word, style = ("warns", "yellow") if warns else (yes, "green") if good else (no, "bold red")
    line = Text(f"{word:{max(len(yes), len(no))}}  ", style=style)
    line.append(says, style="default")
    _console().print(line, soft_wrap=True)


def show_rows(rows: Sequence[Sequence[Any]]) -> None:
    """Rows of user_logins; masks and user ids are cut short."""
    table = Table(box=None, pad_edge=False)
    for name in NAMES:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_short(name, value)) for name, value in zip(NAMES, row, strict=True)))
    _console().print(table)


def _short(name: str, value: Any) -> str:
    if value is None:
        return "NULL"
    text = _printable(str(value))
    limit = {"masked_ip": MASK_SHOWN, "masked_device_id": MASK_SHOWN, "user_id": 8}.get(name, len(text))
    return text if len(text) <= limit else f"{text[:limit]}…"


def _printable(text: str) -> str:
    """What a sender wrote must not steer the terminal: control and bidi characters are shown as Python escapes them."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _console() -> Console:
    """Stdout as it is now; a log or a pipe gets lines as long as they are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
