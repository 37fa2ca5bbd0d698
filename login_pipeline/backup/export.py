"""Backs up user_logins and its inbox: one snapshot, a file for each date of each, and a manifest put in place last.

Only what changed since the last manifest is written. A date that looks damaged keeps the backup it has: else the
first backup after a loss would replace what can repair it.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime
from io import BytesIO
from itertools import groupby
from typing import NamedTuple

from psycopg2 import extensions

from login_pipeline.backup.audit import back_up_audit
from login_pipeline.backup.identity import read_manifest, require_own_backup, take_turn
from login_pipeline.backup.manifest import MANIFEST, BackupDate, BackupFile, Manifest, date_name, is_ours
from login_pipeline.backup.parquet import KEYS, ROW_GROUP, ROWS, put_rows
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import BackupError
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import Rights, Table, require
from login_pipeline.privacy.erasure import last_erasure

Day = date | None

_RIGHTS: Rights = {
    Table.USER_LOGINS: "SELECT",
    Table.LEDGER: "SELECT",
    Table.INBOX: "SELECT",
    Table.ERASURES: "SELECT",
    Table.UNMASKINGS: "SELECT",
    Table.BACKUP: "SELECT UPDATE",
}
_RIGHTS_TO_ACCEPT_LOSSES: Rights = {Table.LEDGER: "INSERT UPDATE"}


class DateState(NamedTuple):
    """What the database holds of one create_date, in the order of ledger.sql; `expected` is a count of rows."""

    create_date: Day
    rows: int
    rows_content: str
    keys: int
    keys_content: str
    expected: int
    ledger: Mapping[str, int]
    rotated_at: datetime | None

    @property
    def has_expired(self) -> bool:
        """Whether all rows of the date have expired: then it has lost nothing that is wanted."""
        return "expired" in self.ledger and not self.rows

    def equals(self, backup: BackupDate) -> bool:
        """Whether the database holds what the backup does."""
        return self.accounts_as(backup) and self.rows_content == backup.rows.content

    def accounts_as(self, backup: BackupDate) -> bool:
        """Whether inbox and ledger are those of the backup."""
        here = (self.keys_content, self.ledger, self.rotated_at)
        return here == (backup.keys.content, backup.ledger, backup.rotated_at)


class BackedUp(NamedTuple):
    """What a backup holds now, and how much of it was written; `damaged`: why a date keeps its older backup."""

    dates: int
    rows: int
    keys: int
    files_written: int
    files_removed: int
    damaged: dict[str, str]


def back_up(
    database: LoginDatabase,
    store: BackupStore,
    *,
    every_date: bool = False,
    accept_losses: bool = False,
    take_over: bool = False,
) -> BackedUp:
    """Brings the backup up to date.

    Args:
        database: Where the tables are.
        store: Where the backup is.
        every_date: Write every date again, also those that did not change.
        accept_losses: Take the table as it is, also where more rows are expected or in the backup: they were deleted on
            purpose, or cannot be had back. Writes the ledger as the maintenance role.
        take_over: Replace the backup that is in the store, also where another database made it.

    Raises:
        ConfigurationError: the database, its tables or the store cannot be used; or another database's backup is there.
        BackupError: the store failed, and the last manifest holds; or dates look damaged, and keep their older
            backup while the others are up to date.
    """
    database.require_table()
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS)
    if accept_losses:
        _accept_losses(LoginDatabase(database.settings, maintenance=True))
    database.close()  # what it kept: its role may be allowed one connection
    with database.transaction(snapshot=True) as cursor:
        take_turn(cursor)
        cursor.execute(statements.backup.hold)
        cursor.begin()
        cursor.execute(statements.backup.session)
        found = read_manifest(store)
        identity = require_own_backup(database, cursor, found, take_over=take_over)
        last = found if found is not None and identity.descends_from(found) else None
        states = dates_in_database(cursor)
        kept = {} if last is None else {each.create_date: each for each in last.dates}
        kept_audit = {} if last is None else last.audit
        damaged = _damaged(states, {} if accept_losses else kept)
        audit, damaged_audit = back_up_audit(cursor, store, kept_audit, accept_losses=accept_losses)
        dates, written = _dates(cursor, store, states, kept, damaged, every_date)
        manifest = Manifest(made_at=now(), database=identity.database, audit=audit, dates=dates)
        if read_manifest(store) != found:
            raise BackupError(
                "LOGIN_BACKUP_URL got another manifest during this backup, which was left as it is: another database "
                "seems to be backed up there, too; name a place of its own for each"
            )
        store.put(MANIFEST, BytesIO(manifest.to_json()))
        removed = _remove_unnamed(store, manifest)
    written += len(audit.items() - kept_audit.items())
    damaged |= damaged_audit
    done = BackedUp(
        dates=len(dates),
        rows=sum(each.rows.count for each in dates),
        keys=sum(each.keys.count for each in dates),
        files_written=written,
        files_removed=removed,
        damaged=damaged,
    )
    if damaged:
        raise BackupError(_damage_sentence(damaged), done._asdict())
    return done


def now() -> datetime:
    """This moment in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def dates_in_database(cursor: extensions.cursor) -> dict[Day, DateState]:
    """What the database holds, for each create_date; reads both large tables."""
    cursor.execute(statements.ledger.by_date)
    return {row[0]: DateState(*row) for row in cursor.fetchall()}


def _accept_losses(database: LoginDatabase) -> None:
    """Writes into the ledger what rows are lost, and what rows no message is known of: from now on that is expected."""
    with database.transaction() as cursor:
        require(cursor, database.access, _RIGHTS_TO_ACCEPT_LOSSES)
        take_turn(cursor)  # no restore is adding what is lost
        cursor.execute(statements.ledger.lock_alone)
        cursor.execute(statements.ledger.add_lost)
        cursor.execute(statements.ledger.add_unknown)


def _damaged(states: dict[Day, DateState], kept: dict[Day, BackupDate]) -> dict[str, str]:
    """Why a date looks damaged, for those that do. A load adds rows and keys; the ledger has what else was done."""
    nothing = DateState(None, 0, "0", 0, "0", 0, {}, None)
    reasons = {day: _damage(states.get(day, nothing), kept.get(day)) for day in kept.keys() | states.keys()}
    return dict(sorted((date_name(day), reason) for day, reason in reasons.items() if reason))


def _damage(state: DateState, backup: BackupDate | None) -> str | None:
    if state.has_expired:
        return None
    if backup is not None:
        here, there = Counter(state.ledger), Counter(backup.ledger)
        taken_off = sum(max(there[entry] - here[entry], 0) for entry in ("erased", "lost"))
        if (lost := backup.rows.count - state.rows - taken_off) > 0:
            return f"{lost} rows fewer than in the backup"
        if here["before"] > there["before"]:
            return "its keys were lost"
    if state.rows != state.expected:
        return f"{state.rows} rows where {state.expected} are expected"
    if backup is not None and state.accounts_as(backup) and not state.equals(backup):
        return "rows were altered"
    return None


def _dates(
    cursor: InterruptibleCursor,
    store: BackupStore,
    states: dict[Day, DateState],
    kept: dict[Day, BackupDate],
    damaged: dict[str, str],
    every_date: bool,
) -> tuple[tuple[BackupDate, ...], int]:
    """All dates, those that look damaged as they were; and how many files were written."""
    dates = {day: backup for day, backup in kept.items() if date_name(day) in damaged}
    due = {day: state for day, state in states.items() if date_name(day) not in damaged}
    old = {} if every_date else kept
    erased_until = last_erasure(cursor)  # what this snapshot has seen, however long the backup takes
    contents = {day: state.rows_content for day, state in due.items()}
    rows, rows_written = _files(cursor, store, "user_logins", contents, {day: each.rows for day, each in old.items()})
    contents = {day: state.keys_content for day, state in due.items()}
    keys, keys_written = _files(
        cursor, store, "user_logins_inbox", contents, {day: each.keys for day, each in old.items()}
    )
    for day, state in due.items():
        dates[day] = BackupDate(
            create_date=day,
            rows=rows[day],
            keys=keys[day],
            ledger=dict(state.ledger),
            rotated_at=state.rotated_at,
            erased_until=erased_until,
        )
    return tuple(dates[day] for day in sorted(dates, key=date_name)), rows_written + keys_written


def _files(
    cursor: InterruptibleCursor,
    store: BackupStore,
    table: str,
    contents: dict[Day, str],
    old: dict[Day, BackupFile],
) -> tuple[dict[Day, BackupFile], int]:
    """The file of each date, and how many were written: those whose content is not that of their old file.

    They come from one query, whose rows are fetched bit by bit. Dates without rows share an empty file, so that nothing
    is left of one that has expired.
    """
    schema, query = (ROWS, statements.backup.rows) if table == "user_logins" else (KEYS, statements.backup.keys)
    files = {day: file for day, file in old.items() if contents.get(day) == file.content}
    due = [day for day in contents if day not in files]
    if not due:
        return files, 0
    parameters = {"dates": [day for day in due if day is not None], "no_date": None in due}
    rows = cursor.stream(query, parameters, rows=ROW_GROUP)
    place = schema.get_field_index("create_date")
    for day, of_day in groupby(rows, key=lambda row: row[place]):
        files[day] = put_rows(store, f"{table}-{date_name(day)}", schema, of_day, contents[day])
    if without_rows := contents.keys() - files.keys():
        files |= dict.fromkeys(without_rows, put_rows(store, f"{table}-empty", schema, (), "0"))
    return files, len({files[day].name for day in due})


def _remove_unnamed(store: BackupStore, manifest: Manifest) -> int:
    """Removes what earlier backups left, and nothing that no backup made."""
    named = {file.name for file in manifest.files}
    unnamed = [name for name in store.names() if is_ours(name) and name not in named]
    store.delete(unnamed)
    return len(unnamed)


def _damage_sentence(damaged: dict[str, str]) -> str:
    shown = "; ".join(f"{day}: {reason}" for day, reason in list(damaged.items())[:5])
    more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
    return (
        f"{len(damaged)} dates or audit tables look damaged and keep their last backup ({shown}{more}); the others are "
        "backed up; run `login-pipeline restore --dry-run`, or, where it was done on purpose, "
        "`login-pipeline backup --accept-losses`"
    )
