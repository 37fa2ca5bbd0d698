"""Random histories of loads, erasures, prunings, expiries, backups, losses and restores: what is gone stays gone.

LOGIN_TEST_EXAMPLES is how many are played, every second one with partitions; a failure names its seed.
"""

import os
import random
import shutil
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.expiry import expire
from login_pipeline_tests.backup.fixtures import Kept

HISTORIES = int(os.environ.get("LOGIN_TEST_EXAMPLES", "8"))
STEPS = 12
RETENTION_DAYS, INBOX_DAYS = 15, 20
TODAY = datetime.now(UTC).date()
# On either side of both limits.
DAYS = [TODAY - timedelta(days=age) for age in (2, RETENTION_DAYS + 2, INBOX_DAYS + 5, 40)]
USERS = ["ann", "ben", "cy"]
LOSSES = [
    "SELECT",
    "DELETE FROM user_logins WHERE user_id = 'ben'",
    "DROP TABLE user_logins",
    "DROP TABLE user_logins, user_logins_inbox",
    "DROP TABLE user_logins, user_logins_inbox, user_logins_ledger",
]


class History:
    """One history. `days` has the rows that were ever loaded, by app_version; `gone` were erased or have expired."""

    def __init__(self, kept: Kept, source: random.Random, folder: Path, *, partitioned: bool) -> None:
        self.kept = kept
        self.partitioned = partitioned
        self.source = source
        self.folder = folder
        self.days: dict[int, date] = {}
        self.gone: set[int] = set()
        # Each with the rows that it holds.
        self.copies: list[tuple[Path, set[int]]] = []
        self.numbers = count()
        kept.folder = folder / "backup"

    def play(self) -> None:
        others = [self.load, self.erase, self.expire, self.prune, self.back_up, self.restore]
        steps = [self.load, self.back_up, *self.source.choices(others, k=STEPS), self.expire, self.restore]
        for step in steps:
            step()
            rows = self.rows()
            assert len(rows) == len(self.kept.rows()), "a row is there twice"
            assert rows.keys() <= self.days.keys() - self.gone, "a row is back"
            assert self.kept.agrees()

    def rows(self) -> dict[int, str]:
        """The user of each row that is there."""
        return {row[5]: row[0] for row in self.kept.rows()}

    def load(self) -> None:
        for _ in range(self.source.randrange(1, 9)):
            number, day = next(self.numbers), self.source.choice(DAYS)
            row = (self.source.choice(USERS), "ios", "m", "m", None, number, day, f"id-{number}")
            loaded = self.kept.resource.load([row], seconds=30)
            if loaded.rows:
                self.days[number] = day
            elif loaded.refused != {f"id-{number}": "older_than_the_inbox"}:
                assert self.is_due(day), "a message of a day that is kept is refused"

    def erase(self) -> None:
        user = self.source.choice(USERS)
        self.gone |= {number for number, whose in self.rows().items() if whose == user}
        erase(self.kept.resource, [user], "request 1", "jo", allow_none=True)

    def expire(self) -> None:
        due = {number for number in self.rows() if self.is_due(self.days[number])}
        assert expire(self.kept.resource, days=RETENTION_DAYS).rows == len(due)
        self.gone |= due

    def prune(self) -> None:
        self.kept.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - interval '30 days'")
        prune_inbox(self.kept.resource, days=INBOX_DAYS)

    def back_up(self) -> None:
        self.kept.back_up()
        copy = self.folder / f"copy-{len(self.copies)}"
        shutil.copytree(self.kept.folder, copy)
        self.copies.append((copy, set(self.rows())))

    def restore(self) -> None:
        """From any copy of the backup, however old, in the place of the newest one, and after any loss."""
        copy, held = self.source.choice(self.copies)
        shutil.rmtree(self.kept.folder)
        shutil.copytree(copy, self.kept.folder)
        self.kept.query(self.source.choice(LOSSES))
        self.kept.resource.prepare(partitioned=self.partitioned)
        restored = self.kept.restore(drop_lost_keys=True)
        if restored.total("rows_lost"):  # which ids to drop, nobody can tell
            self.kept.back_up(accept_losses=True)
        missing = held - self.gone - self.rows().keys()
        assert all(self.is_due(self.days[number]) for number in missing), "a row is lost"
        self.gone |= missing

    def is_due(self, day: date) -> bool:
        """A month that is a partition is due as a whole."""
        first_kept = TODAY - timedelta(days=RETENTION_DAYS)
        return day < (first_kept.replace(day=1) if self.partitioned else first_kept)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_no_restore_brings_back_what_was_erased_or_has_expired(empty: Kept, tmp_path: Path, seed: int) -> None:
    empty.set(LOGIN_RETENTION_DAYS=str(RETENTION_DAYS))
    partitioned = seed % 2 == 1
    empty.query("DROP TABLE user_logins")
    empty.resource.prepare(partitioned=partitioned)
    source = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    History(empty, source, tmp_path, partitioned=partitioned).play()
