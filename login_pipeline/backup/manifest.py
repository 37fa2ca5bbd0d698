"""The manifest of a backup: what each date held, and the files that hold it. Pure: no I/O.

It is the last thing that a backup writes, so what it names is complete. It carries a checksum of itself.
"""

import hashlib
import json
import re
from datetime import date
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from login_pipeline.errors import BackupError

MANIFEST = "manifest.json"
_FILE = re.compile(
    r"(\.incoming-)?(user_logins(_inbox)?-(\d{4,}-\d\d-\d\d|no-date|empty)|user_logins_(erasures|unmaskings))"
    r"-[0-9a-f]{64}\.parquet"
)


class BackupDatabase(BaseModel):
    """The database that a backup is of.

    `id` is from user_logins_backup; `place` is the server and the database there, so that a copy of a database is
    another one; `name` is its address as people know it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    place: str
    name: str

    def __str__(self) -> str:
        """For people. Two databases can have had the same address."""
        return f"{self.name} ({self.id[:8]})"


class BackupFile(BaseModel):
    """One Parquet file. `content` is the sum of its rows' hashes as PostgreSQL counts it, apart from their order."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    count: int
    content: str


class BackupDate(BaseModel):
    """One create_date, or the rows that have none.

    `ledger` has the rows of each entry (ledger.sql). Its `rotated` is of `rotated_at`. The rows of users who were
    erased after `erased_until` are still here; without it, of all.
    """

    model_config = ConfigDict(frozen=True)

    create_date: date | None
    rows: BackupFile
    keys: BackupFile
    ledger: dict[str, int]
    rotated_at: AwareDatetime | None
    erased_until: AwareDatetime | None


class Manifest(BaseModel):
    """Everything that a restore may rely on. `audit` has the file of each audit table, by the table's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    made_at: AwareDatetime
    database: BackupDatabase
    audit: dict[str, BackupFile]
    dates: tuple[BackupDate, ...]

    @property
    def files(self) -> list[BackupFile]:
        """Every file once: those of the audit tables, then those of the dates in their order."""
        of_dates = (file for each in self.dates for file in (each.rows, each.keys))
        return list(dict.fromkeys([*self.audit.values(), *of_dates]))

    def to_json(self) -> bytes:
        """The manifest as it is stored."""
        document = self.model_dump(mode="json")
        return json.dumps({**document, "sha256": _checksum(document)}, indent=1).encode()

    @classmethod
    def from_json(cls, stored: bytes) -> "Manifest":
        """Reads a manifest.

        Raises:
            BackupError: it is damaged, or of a version that this program does not know.
        """
        try:
            document = json.loads(stored)
            checksum = document.pop("sha256")
            if checksum != _checksum(document):
                raise ValueError("another checksum")
            return cls.model_validate(document)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BackupError(
                f"{MANIFEST} in LOGIN_BACKUP_URL is damaged, or of another version of login-pipeline; nothing was "
                "changed; put back an earlier copy of that folder or bucket"
            ) from None


def date_name(day: date | None) -> str:
    """The date as it is shown, and as it is in file names."""
    return "no-date" if day is None else day.isoformat()


def is_ours(name: str) -> bool:
    """Whether a backup made the file, or began to, so that a backup may remove it."""
    return _FILE.fullmatch(name) is not None


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
