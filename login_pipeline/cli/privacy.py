"""The commands that a privacy request calls for."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from login_pipeline.backup.export import back_up
from login_pipeline.backup.store import backup_store
from login_pipeline.cli.options import as_json, end
from login_pipeline.cli.output import show, show_figures, show_records
from login_pipeline.errors import LoginPipelineError
from login_pipeline.logs.setup import process_log, report_error
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.erasure import count_rows_of, erase, proofs
from login_pipeline.privacy.request import check_reason, operator
from login_pipeline.privacy.unmasking import masks_of_user, unmask_all
from login_pipeline.settings import read_settings

QUEUES_UNTOUCHED = (
    "Messages of this user that wait on the queue or the dead-letter queue are still there; a login that comes later "
    "loads as any other"
)

by = click.option("--by", metavar="NAME", help="Who asks. Required where the operating system's user is no person.")


@click.command()
@click.argument("masks", nargs=-1)
@click.option("--user-id", help="Unmask the rows of this user instead of MASKS; - reads the id from stdin.")
@click.option("--reason", help="Why. Recorded with who, when and how many.")
@by
@as_json
def unmask(masks: Sequence[str], user_id: str | None, reason: str | None, by: str | None, as_json: bool) -> None:
    """Turn MASKS (- for stdin) of aes-siv back into values.

    The request is recorded in user_logins_unmaskings before anything is printed.
    """
    if bool(masks) == (user_id is not None):
        raise click.UsageError("name MASKS (- for stdin) or --user-id ID")
    who = operator(by)
    if reason is None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError("say with --reason why somebody needs to know, such as the request's number")
        reason = click.prompt("Why does somebody need to know", err=True)
    user_id = _line_of_stdin() if user_id == "-" else user_id
    if masks == ("-",) and not (masks := _stdin().split()):
        raise click.UsageError("stdin has no mask in it")
    check_reason(reason, *([user_id] if user_id else masks))
    database = _database()
    ring = masking_keys(database.settings)
    if user_id is not None:
        masks = masks_of_user(database, user_id)
        if not masks:
            end(["No row in user_logins is of this user; check the id"])
    done = unmask_all(database, ring, masks, reason.strip(), who, user_id)
    records = [value._asdict() for value in done.values]
    show({"values": records}, as_json=as_json, as_text=lambda: show_records(records))
    end(done.problems())


# What is unknown counts as an argument: click's own sentence about it would quote a user_id that begins with "-".
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("user_id", nargs=-1, type=click.UNPROCESSED, metavar="USER_ID")
@click.option("--reason", help="Why, for the record: the number of the request, and nothing about the person.")
@by
@click.option("--dry-run", is_flag=True, help="Only count the rows of the user.")
@click.option("--proof", is_flag=True, help="Only show when the user was erased, by whom, and how many rows.")
@click.option("--allow-none", is_flag=True, help="Record the erasure even if the user has no row.")
@as_json
def forget(
    user_id: tuple[str, ...],
    reason: str | None,
    by: str | None,
    dry_run: bool,
    proof: bool,
    allow_none: bool,
    as_json: bool,
) -> None:
    """Erase a user: every row in user_logins and in the backup. USER_ID - reads the id from stdin."""
    if len(user_id) != 1:
        raise click.UsageError("name one USER_ID, or - to read it from stdin, where no shell's history keeps it")
    who = _line_of_stdin() if user_id[0] == "-" else user_id[0]
    if proof:
        _show_proofs(who, as_json)
    elif dry_run:
        rows, dates = count_rows_of(_database(), who)
        _show({"dry_run": True, "rows": rows, "dates": dates}, as_json)
    elif reason is None:
        raise click.UsageError("say why with --reason, such as the request's number; it is kept in the proof")
    else:
        _erase(who, reason, by, as_json, allow_none=allow_none)


def _stdin() -> str:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed, and - reads it")
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="surrogateescape")


def _line_of_stdin() -> str:
    """A user_id on a line of its own."""
    lines = [line.rstrip("\r") for line in _stdin().split("\n")]
    if any(line.strip() for line in lines[1:]):
        raise click.UsageError("stdin has more than one line, and a command is about one user")
    return lines[0]


def _database() -> LoginDatabase:
    return LoginDatabase(read_settings(), maintenance=True)


def _erase(user_id: str, reason: str, by: str | None, as_json: bool, *, allow_none: bool) -> None:
    """The rows first: where the backup fails, running it again does that part again."""
    database = _database()
    done = erase(database, user_id, reason, operator(by), allow_none=allow_none).figures()
    process_log().info("erased", rows=done["rows"], dates=done["dates"], subject=done["subject"])
    problem = None
    backed_up = database.settings.backup_url is not None
    try:
        if backed_up:
            back_up(database, backup_store(database.settings))
    except LoginPipelineError as error:
        problem = _still_in_the_backup(error.sentence)
    except BaseException:  # a signal, or what nobody foresaw
        report_error(_still_in_the_backup("it was cut off"), "not_backed_up")
        raise
    _show({**done, "backed_up": backed_up and problem is None}, as_json)
    end([problem] if problem else [])


def _still_in_the_backup(why: str) -> str:
    return (
        "The user is erased from user_logins, and the backup in LOGIN_BACKUP_URL may still hold rows of theirs: "
        f"{why}; then run the same command again"
    )


def _show(figures: dict[str, Any], as_json: bool) -> None:
    def as_text() -> None:
        show_figures(figures)
        click.echo(f"{QUEUES_UNTOUCHED}.")

    show({**figures, "note": QUEUES_UNTOUCHED}, as_json=as_json, as_text=as_text)


def _show_proofs(user_id: str, as_json: bool) -> None:
    found = [each.figures() for each in proofs(_database(), user_id)]

    def as_text() -> None:
        for each in found:
            show_figures(each)
            click.echo()

    show({"erasures": found}, as_json=as_json, as_text=as_text)
    unknown = (
        "No erasure of this user is recorded under any of the masking keys; one under another key cannot be recognised"
    )
    end([] if found else [unknown])
