"""The commands for masking keys and for personal data; cli.py has the others, and the exit codes."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from login_pipeline import logs

DONE, FAILED = 0, 1


@click.group()
def keys() -> None:
    """Make masking keys, say which there are, and mask again under a new one."""


@keys.command()
@click.option("--add", is_flag=True, help="Put the new key before the configured ones, which mask no more.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file for them, instead of stdout.")
def generate(add: bool, output: Path | None) -> None:
    """Make a random masking key, and print it with today's date."""
    from login_pipeline.key_files import write_key_file, written
    from login_pipeline.keys import KeyRing, new_key
    from login_pipeline.resources.masking_keys import masking_keys

    today = datetime.now(UTC).date()
    ring = masking_keys().rotated(today) if add else KeyRing(new_key(today))
    if output is None:
        click.echo(written(ring), nl=False)
    else:
        write_key_file(output, ring, replace=add)
        click.echo(f"{ring.active.id} is in {output}; LOGIN_MASKING_KEY_SOURCE={output.absolute()} reads it")


@keys.command()
@click.option("--rows", is_flag=True, help="Also count the rows under each key; reads the whole table.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout.")
def status(rows: bool, as_json: bool) -> None:
    """Say which masking keys are configured, and how old they are; never the keys."""
    from login_pipeline.key_status import key_status
    from login_pipeline.resources.masking_keys import masking_keys
    from login_pipeline.resources.postgres import LoginDatabaseResource
    from login_pipeline.rotation import rows_by_key
    from login_pipeline.terminal import show_records

    by_key = rows_by_key(LoginDatabaseResource()) if rows else None
    records = [each._asdict() for each in key_status(masking_keys(), by_key, datetime.now(UTC).date())]
    if as_json:
        click.echo(json.dumps({"keys": records}))
    else:
        show_records(records)


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout.")
def rotate(as_json: bool) -> None:
    """Mask again, under the first key, what aes-siv has masked under the others."""
    from login_pipeline.resources.masking_keys import masking_keys
    from login_pipeline.resources.postgres import LoginDatabaseResource
    from login_pipeline.rotation import remaining
    from login_pipeline.rotation import rotate as mask_again
    from login_pipeline.terminal import show_figures

    ring = masking_keys()
    rotated = mask_again(LoginDatabaseResource(), ring)
    if as_json:
        click.echo(json.dumps(rotated._asdict()))
    else:
        show_figures({"rows_masked_again": rotated.rows, **{f"rows_under_{k}": n for k, n in rotated.by_key.items()}})
    _tell(list(remaining(rotated, ring)))


@click.command()
@click.argument("masks", nargs=-1)
@click.option("--user-id", help="The masks in the rows of this user, instead of MASKS.")
@click.option("--reason", prompt="Why does somebody need to know", help="Why; it is recorded with who, when, how many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout.")
def unmask(masks: Sequence[str], user_id: str | None, reason: str, as_json: bool) -> None:
    """Turn MASKS, or for - those on stdin, back into values; only aes-siv can be.

    It is recorded in user_logins_unmaskings before anything is printed.
    """
    from login_pipeline.resources.masking_keys import masking_keys
    from login_pipeline.resources.postgres import LoginDatabaseResource
    from login_pipeline.terminal import show_records
    from login_pipeline.unmasking import masks_of_user, unmask_all

    if bool(masks) == (user_id is not None):
        raise click.UsageError("name MASKS (- for stdin) or --user-id ID")
    if not reason.strip():
        raise click.UsageError("--reason is empty; say why somebody needs to know")
    ring, database = masking_keys(), LoginDatabaseResource()
    if user_id is not None:
        masks = masks_of_user(database, user_id)
    elif masks == ("-",):
        masks = sys.stdin.read().split()
    done = unmask_all(database, ring, masks, reason.strip())
    records = [value._asdict() for value in done.values]
    if as_json:
        click.echo(json.dumps({"values": records}))
    else:
        show_records(records)
    _tell(list(done.problems()))


def _tell(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        logs.tell(sentence, "command_failed", exit_code=FAILED)
    sys.exit(FAILED if sentences else DONE)
