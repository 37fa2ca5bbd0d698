"""A database with logins of several dates, and a folder for its backups."""

import time
from collections.abc import Callable, Iterator, Sequence
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
from login_pipeline.masking.masker import Masker
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import MASKING_KEY, Database, Servers, new_database

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


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def name_of(database: Database) -> str:
    return database.url.rpartition("/")[2]


@dataclass
class Kept:
    """A database whose tables are backed up into a folder."""

    database: Database
    folder: Path
    monkeypatch: pytest.MonkeyPatch

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

    def set(self, **settings: str | None) -> None:
        """Sets environment variables, or deletes them where the value is None."""
        for name, value in settings.items():
            if value is None:
                self.monkeypatch.delenv(name)
            else:
                self.monkeypatch.setenv(name, value)

    def load(self, rows: Sequence[tuple[Any, ...]], prefix: str = "id") -> None:
        """Loads rows as one batch, under message ids that begin with `prefix`."""
        keyed = [(*row, f"{prefix}-{number}") for number, row in enumerate(rows)]
        self.resource.load(keyed, seconds=30)

    def log_in(self, *logins: tuple[str, str, str]) -> None:
        """Loads logins of a user_id, an ip and a device_id each, masked as the settings say."""
        masks = Masker(read_settings()).masks()
        rows = [(user, "ios", masks.ip(ip), masks.device_id(device), None, 1, MONDAY) for user, ip, device in logins]
        self.load(rows, logins[0][0])

    def back_up(self, **options: bool) -> BackedUp:
        return back_up(self.resource, self.store, **options)

    def restore(self, **options: bool) -> Restored:
        return restore(self.resource, self.store, **options)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.database.query(statement, *parameters)

    def move_to(self, database: Database) -> None:
        """From now on everything is about this database; the place of the backups stays."""
        self.database = database
        self.set(LOGIN_DATABASE_URL=database.url)

    def rows(self) -> list[tuple[Any, ...]]:
        return sorted(self.query("SELECT * FROM user_logins"), key=repr)

    def keys(self) -> list[tuple[Any, ...]]:
        return sorted(self.query("SELECT * FROM user_logins_inbox"))

    def ledger(self) -> dict[date | None, dict[str, int]]:
        """The rows of each entry, by date."""
        entries = "SELECT create_date, jsonb_object_agg(entry, rows) FROM user_logins_ledger GROUP BY create_date"
        return dict(self.query(entries))

    def agrees(self) -> bool:
        """Whether each date has the rows that its inbox and ledger account for, as the check on the table asks."""
        return self.resource.ask(statements.checks.rows_that_disagree_with_the_inbox)[1:] == (0, 0)


def waits_for_a_lock(of: Kept | Database) -> bool:
    """Whether a session of the database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return of.query(waiting) != [(0,)]


@pytest.fixture(scope="session")
def filled(servers: Servers) -> Iterator[Database]:
    """Rows of two dates, and rows without a date from before the inbox: made once, and copied for each test."""
    with new_database(servers) as database, pytest.MonkeyPatch.context() as monkeypatch:
        kept = Kept(database, Path(), monkeypatch)
        kept.set(LOGIN_DATABASE_URL=database.url)
        kept.resource.prepare()
        kept.query("DROP TABLE user_logins_inbox; INSERT INTO user_logins (user_id) VALUES (NULL), ('old')")
        kept.resource.prepare()
        kept.load(TRICKY)
        yield database


@pytest.fixture
def kept(servers: Servers, filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """With the rows of `filled`; nothing is backed up. A test that has a pipeline, too, asks for the pipeline first."""
    with new_database(servers, template=name_of(filled)) as database:
        yield _kept(database, tmp_path, monkeypatch)


@pytest.fixture
def empty(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """With the tables, and no row."""
    kept = _kept(database, tmp_path, monkeypatch)
    kept.resource.prepare()
    return kept


def _kept(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept(database, tmp_path / "backup", monkeypatch)
    kept.set(LOGIN_DATABASE_URL=database.url, LOGIN_BACKUP_URL=str(kept.folder), LOGIN_MASKING_KEY=MASKING_KEY)
    return kept


@pytest.fixture
def other(servers: Servers) -> Iterator[Database]:
    """A second database, without tables."""
    with new_database(servers) as database:
        yield database
