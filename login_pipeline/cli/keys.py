"""The commands for masking keys."""

from datetime import UTC, datetime
from pathlib import Path

import click

from login_pipeline.cli.options import as_json, end
from login_pipeline.cli.output import show, show_figures, show_records
from login_pipeline.masking.key_file import write_key_file
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.key_status import key_status
from login_pipeline.masking.keys import KeyRing, new_key
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.key_rotation import remaining, rows_by_key
from login_pipeline.privacy.key_rotation import rotate as mask_again
from login_pipeline.settings import read_settings


@click.group()
def keys() -> None:
    """Generate, list and rotate masking keys."""


@keys.command()
@click.option("--add", is_flag=True, help="Put the new key before the configured ones, which then no longer mask.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the keys to this file.")
def generate(add: bool, output: Path | None) -> None:
    """Generate a random masking key and print it with today's date."""
    today = datetime.now(UTC).date()
    ring = masking_keys(read_settings()).rotated(today) if add else KeyRing(new_key(today))
    if output is None:
        click.echo(ring.written(), nl=False)
    else:
        write_key_file(output, ring)
        click.echo(f"{ring.active.id} is in {output}; LOGIN_MASKING_KEY_SOURCE={output.absolute()} reads it")


@keys.command()
@click.option("--rows", is_flag=True, help="Also count the rows under each key. Reads the whole table.")
@as_json
def status(rows: bool, as_json: bool) -> None:
    """List the ids and ages of the masking keys, never the keys."""
    settings = read_settings()
    by_key = rows_by_key(LoginDatabase(settings)) if rows else None
    records = [each._asdict() for each in key_status(masking_keys(settings), by_key, datetime.now(UTC).date())]
    show({"keys": records}, as_json=as_json, as_text=lambda: show_records(records))


@keys.command()
@as_json
def rotate(as_json: bool) -> None:
    """Mask again under the first key what aes-siv masked under others."""
    settings = read_settings()
    ring = masking_keys(settings)
    rotated = mask_again(LoginDatabase(settings, maintenance=True), ring)
    figures = {"rows_masked_again": rotated.rows, **{f"rows_under_{key}": n for key, n in rotated.by_key.items()}}
    show(rotated._asdict(), as_json=as_json, as_text=lambda: show_figures(figures))
    end(remaining(rotated, ring))
