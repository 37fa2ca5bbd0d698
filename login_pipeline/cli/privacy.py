"""The commands that a privacy request calls for."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from login_pipeline.privacy.dead_letters import delete_dead_letters
from login_pipeline.privacy.erasure import count_rows_of, erase, proofs
from login_pipeline.privacy.request import check_reason, operator
from login_pipeline.privacy.unmasking import masks_of_user, unmask_all, unmasked_rows
from login_pipeline.settings import read_settings

WHAT_FOLLOWS = (
    "Logins of theirs that wait on the queue, or are redriven, get no row; one that is sent from now on loads as any "
    "other"
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
_IDS = {"ignore_unknown_options": True}


@click.command(context_settings=_IDS)
@click.argument("user_id", nargs=-1, type=click.UNPROCESSED, metavar="USER_ID")
@click.option("--reason", help="Why: the number of the request. Recorded with who, when and how many.")
@by
def subject(user_id: tuple[str, ...], reason: str | None, by: str | None) -> None:
    """Print the rows of a user as JSON, unmasked where they can be.

    USER_ID - reads the id from stdin. Only what aes-siv masked can be turned back. The request is recorded in
    user_logins_unmaskings before anything is printed.
    """
    if len(user_id) != 1:
        raise click.UsageError("name one USER_ID, or - to read it from stdin, where no shell's history keeps it")
    if reason is None:
        raise click.UsageError("say why with --reason, such as the request's number; it is recorded")
    name, who = _line_of_stdin() if user_id[0] == "-" else user_id[0], operator(by)
    database = _database()
    rows, refused = unmasked_rows(database, masking_keys(database.settings), name, reason.strip(), who)
    if not rows:
        end(["No row in user_logins is of this user; check the id"])
    show({"rows": rows, "masks_that_stay": refused}, as_json=True)


@click.command(context_settings=_IDS)
@click.argument("user_ids", nargs=-1, type=click.UNPROCESSED, metavar="USER_ID...")
@click.option("--reason", help="Why, for the record: the number of the request, and nothing about the person.")
@by
@click.option("--dry-run", is_flag=True, help="Only count the rows of the users.")
@click.option("--proof", is_flag=True, help="Only show when the users were erased, by whom, and how many rows.")
@click.option("--allow-none", is_flag=True, help="Record the erasure even if a user has no row.")
@as_json
def forget(
    user_ids: tuple[str, ...],
    reason: str | None,
    by: str | None,
    dry_run: bool,
    proof: bool,
    allow_none: bool,
    as_json: bool,
) -> None:
    """Erase users from table, backup and dead-letter queue.

    USER_ID - reads the ids from stdin, one a line.
    """
    names = list(dict.fromkeys(_lines_of_stdin() if user_ids == ("-",) else user_ids))
    if not names:
        raise click.UsageError("name USER_IDs, or - to read them from stdin, where no shell's history keeps them")
    if proof:
        _show_proofs(names, as_json)
    elif dry_run:
        rows, dates = count_rows_of(_database(), names)
        show({"dry_run": True, "users": len(names), "rows": rows, "dates": dates}, as_json=as_json)
    elif reason is None:
        raise click.UsageError("say why with --reason, such as the request's number; it is kept in the proof")
    else:
        _erase(names, reason, by, as_json, allow_none=allow_none)


def _stdin() -> str:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed, and - reads it")
    return sys.stdin.buffer.read().decode("utf-8-sig", errors="surrogateescape")


def _lines_of_stdin() -> list[str]:
    """What is on the lines that are not blank."""
    return [line.rstrip("\r") for line in _stdin().split("\n") if line.strip()]


def _line_of_stdin() -> str:
    """A user_id on a line of its own."""
    lines = _lines_of_stdin()
    if len(lines) != 1:
        raise click.UsageError(f"stdin has {len(lines)} lines, and this command is about one user")
    return lines[0]


def _database() -> LoginDatabase:
    return LoginDatabase(read_settings(), maintenance=True)


def _erase(user_ids: Sequence[str], reason: str, by: str | None, as_json: bool, *, allow_none: bool) -> None:
    """The rows first: where the backup or the dead-letter queue fails, running it again does that part again."""
    database = _database()
    done = [each.figures() for each in erase(database, user_ids, reason, operator(by), allow_none=allow_none)]
    for each in done:
        process_log().info("erased", rows=each["rows"], dates=each["dates"], subject=each["subject"])
    problems: list[str] = []
    with _goes_on(_STILL_IN_THE_BACKUP, "not_backed_up", problems):
        backed_up = database.settings.backup_url is not None
        if backed_up:
            back_up(database, backup_store(database.settings))
    backed_up = backed_up and not problems
    letters = None
    with _goes_on(_STILL_ON_THE_QUEUE, "dead_letters_not_deleted", problems):
        letters = delete_dead_letters(database.settings, user_ids)
        problems += letters.problems(database.settings)
    figures = {
        "users": len(user_ids),
        "rows": sum(each["rows"] for each in done),
        "backed_up": backed_up,
        "dead_letters": letters and letters.deleted,
    }

    def as_text() -> None:
        _show_each(done)
        show_figures(figures)
        click.echo(f"{WHAT_FOLLOWS}.")

    show({"erasures": done, **figures, "note": WHAT_FOLLOWS}, as_json=as_json, as_text=as_text)
    end(problems)


_STILL_IN_THE_BACKUP = "the backup in LOGIN_BACKUP_URL may still hold rows of theirs"
_STILL_ON_THE_QUEUE = "the dead-letter queue may still hold messages of theirs"


@contextmanager
def _goes_on(still: str, event: str, problems: list[str]) -> Iterator[None]:
    """Around what is done after the rows are gone; reports what may be left, also where it is cut off."""

    def sentence(why: str) -> str:
        return f"The rows are erased from user_logins, and {still}: {why}; then run the same command again"

    try:
        yield
    except LoginPipelineError as error:
        problems.append(sentence(error.sentence))
    except BaseException:  # a signal, or what nobody foresaw
        report_error(sentence("it was cut off"), event)
        raise


def _show_each(erasures: Sequence[dict[str, Any]]) -> None:
    for each in erasures:
        show_figures(each)
        click.echo()


def _show_proofs(user_ids: Sequence[str], as_json: bool) -> None:
    database = _database()
    found = [[each.figures() for each in proofs(database, user_id)] for user_id in user_ids]
    recorded = [each for erasures in found for each in erasures]
    show({"erasures": recorded}, as_json=as_json, as_text=lambda: _show_each(recorded))
    unknown = found.count([])
    whom = "this user" if len(user_ids) == 1 else f"{unknown} of the users"
    sentence = (
        f"No erasure of {whom} is recorded under any of the masking keys; one under another key cannot be recognised"
    )
    end([sentence] if unknown else [])
