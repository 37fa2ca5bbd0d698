"""A database with logins of several dates, and a folder for its backups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from login_pipeline.backup.export import BackedUp, back_up
from login_pipeline.backup.identity import read_manifest
from login_pipeline.backup.manifest import Manifest
from login_pipeline.backup.restore import Restored, restore
from login_pipeline.backup.store import FolderStore
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Database, Pipeline

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
IP, DEVICE_ID = "k0000000a." + "1" * 64, "k0000000a." + "2" * 64
TRICKY: list[tuple[Any, ...]] = [
    ("plain", "ios", IP, DEVICE_ID, "FR", 2, MONDAY),
    ("plain", "ios", IP, DEVICE_ID, "FR", 2, MONDAY),  # two logins can be equal
    ("no locale", "ios", IP, DEVICE_ID, None, 0, MONDAY),
    ("tab\tnewline\nreturn\r\\N \\t back\\slash", "q\"uo'te,(x)", IP, DEVICE_ID, "\\.", 2**31 - 1, MONDAY),
    ("Zoë 日本語 🙂 e\u0301", "\u202e", IP, DEVICE_ID, " ", 1, TUESDAY),
    ("", "", IP, DEVICE_ID, "", -1, TUESDAY),
]
BEFORE_THE_PIPELINE: list[tuple[Any, ...]] = [(None,) * 7, ("old", None, None, None, None, None, None)]


@dataclass
class Kept:
    """A pipeline whose table is backed up into a folder."""

    pipeline: Pipeline
    folder: Path

    @property
    def resource(self) -> LoginDatabase:
        return LoginDatabase(read_settings())

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.folder)

    @property
    def manifest(self) -> Manifest:
        manifest = read_manifest(self.store)
        assert manifest is not None
        return manifest

    def load(self, rows: Sequence[tuple[Any, ...]], prefix: str = "id") -> None:
        """Loads rows as one batch, under message ids that begin with `prefix`."""
        keyed = [(*row, f"{prefix}-{number}") for number, row in enumerate(rows)]
        self.resource.load(keyed, seconds=30)

    def back_up(self, **options: bool) -> BackedUp:
        return back_up(self.resource, self.store, **options)

    def restore(self, **options: bool) -> Restored:
        return restore(self.resource, self.store, **options)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.pipeline.database.query(statement, *parameters)

    def move_to(self, database: Database) -> None:
        """From now on everything is about this database; the place of the backups stays."""
        self.pipeline.database = database
        self.pipeline.set(LOGIN_DATABASE_URL=database.url)

    def rows(self) -> list[tuple[Any, ...]]:
        return sorted(self.query("SELECT * FROM user_logins"), key=repr)

    def keys(self) -> list[tuple[Any, ...]]:
        return sorted(self.query("SELECT * FROM user_logins_inbox"))

    def ledger(self) -> dict[date | None, dict[str, int]]:
        """The rows of each entry, by date."""
        entries = "SELECT create_date, jsonb_object_agg(entry, rows) FROM user_logins_ledger GROUP BY create_date"
        return dict(self.query(entries))

    def failed_checks(self) -> list[str]:
        return [check.name for check in self.pipeline.run("user_logins_checks_job").checks if check.failed]


@pytest.fixture
def kept(pipeline: Pipeline, tmp_path: Path) -> Kept:
    """With rows of two dates, and rows without a date from before the pipeline; nothing is backed up yet."""
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    kept = Kept(pipeline, tmp_path / "backup")
    kept.resource.prepare()
    kept.query("DROP TABLE user_logins_inbox")
    for row in BEFORE_THE_PIPELINE:
        kept.query("INSERT INTO user_logins VALUES (%s, %s, %s, %s, %s, %s, %s)", *row)
    kept.resource.prepare()
    kept.load(TRICKY)
    return kept
