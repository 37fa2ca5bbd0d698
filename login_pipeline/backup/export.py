"""Backs up user_logins and its inbox: one snapshot, a file for each date of each, and a manifest put in place last.

Only what changed since the last manifest is written. A date that looks damaged keeps the backup it has: else the
first backup after a loss would replace what can repair it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from io import BytesIO
from itertools import groupby
from typing import Any, NamedTuple

from psycopg2 import extensions

from login_pipeline.backup.audit import back_up_audit
from login_pipeline.backup.identity import read_manifest, require_own_backup, take_turn
from login_pipeline.backup.manifest import MANIFEST, BackupDate, BackupFile, Manifest, date_name, is_ours, now
from login_pipeline.backup.parquet import KEYS, ROW_GROUP, ROWS, put_rows
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import BackupError
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import require
from login_pipeline.privacy.erasure import last_erasure

Day = date | None


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

    def figures(self) -> dict[str, Any]:
        """By name, for Dagster and for people."""
        return {**self._asdict(), "damaged": self.damaged}


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
        require(cursor, database.access, statements.backup.missing_rights)
    if accept_losses:
        _accept_losses(LoginDatabase(database.settings, maintenance=True))
    with database.transaction(snapshot=True) as cursor:
        take_turn(cursor)
        cursor.execute(statements.backup.session)
        found = read_manifest(store)
        identity = require_own_backup(database, cursor, found, take_over=take_over)
        last = found if found is not None and identity.descends_from(found) else None
        states = dates_in_database(cursor)
        kept = {} if last is None else {each.create_date: each for each in last.dates}
        kept_audit = {} if last is None else last.audit
        damaged = _damaged(states, {} if accept_losses else kept)
        audit, damaged_audit = back_up_audit(cursor, store, kept_audit, accept_losses=accept_losses)
        dates, written = _written(cursor, store, states, kept, damaged, every_date)
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
    done = _figures(manifest, written, removed, damaged)
    if damaged:
        raise BackupError(_damage_sentence(damaged), done.figures())
    return done


def dates_in_database(cursor: extensions.cursor) -> dict[Day, DateState]:
    """What the database holds, for each create_date; reads both large tables."""
    cursor.execute(statements.ledger.by_date)
    return {row[0]: DateState(*row) for row in cursor.fetchall()}


def _accept_losses(database: LoginDatabase) -> None:
    """Writes into the ledger what rows are lost, and what rows no message is known of: from now on that is expected."""
    with database.transaction() as cursor:
        require(cursor, database.access, statements.ledger.missing_rights)
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


def _written(
    cursor: InterruptibleCursor,
    store: BackupStore,
    states: dict[Day, DateState],
    kept: dict[Day, BackupDate],
    damaged: dict[str, str],
    every_date: bool,
) -> tuple[tuple[BackupDate, ...], int]:
    """Writes the files that are missing; returns all dates, and how many files were written."""
    safe = {day: backup for day, backup in kept.items() if date_name(day) in damaged}
    due = [state for day, state in states.items() if date_name(day) not in damaged]
    old = {} if every_date else kept
    rows = {s.create_date: s.rows_content for s in due if _changed(s.rows_content, old, s.create_date, "rows")}
    keys = {s.create_date: s.keys_content for s in due if _changed(s.keys_content, old, s.create_date, "keys")}
    erased_until = last_erasure(cursor)  # what this snapshot has seen, however long the backup takes
    row_files = _export(cursor, store, "user_logins", rows)
    key_files = _export(cursor, store, "user_logins_inbox", keys)
    dates = {
        state.create_date: BackupDate(
            create_date=state.create_date,
            rows=row_files.get(state.create_date) or old[state.create_date].rows,
            keys=key_files.get(state.create_date) or old[state.create_date].keys,
            ledger=dict(state.ledger),
            rotated_at=state.rotated_at,
            erased_until=erased_until,
        )
        for state in due
    }
    in_order = sorted({**safe, **dates}.values(), key=lambda each: date_name(each.create_date))
    return tuple(in_order), len(row_files) + len(key_files)


def _changed(content: str, old: dict[Day, BackupDate], day: Day, which: str) -> bool:
    return day not in old or getattr(old[day], which).content != content


def _export(
    cursor: InterruptibleCursor, store: BackupStore, table: str, contents: dict[Day, str]
) -> dict[Day, BackupFile]:
    """Writes a file for each date of `contents`, all from one query; a date without rows gets an empty one."""
    schema, query = (ROWS, statements.backup.rows) if table == "user_logins" else (KEYS, statements.backup.keys)
    files = {}
    if contents:
        for day, rows in _by_date(cursor, query, schema.get_field_index("create_date"), list(contents)):
            files[day] = put_rows(store.put, f"{table}-{date_name(day)}", schema, rows, contents[day])
    for day in contents.keys() - files.keys():
        files[day] = put_rows(store.put, f"{table}-{date_name(day)}", schema, (), contents[day])
    return files


def _by_date(
    cursor: InterruptibleCursor, query: str, position: int, days: list[Day]
) -> Iterator[tuple[Day, Iterator[tuple[Any, ...]]]]:
    """The dates that have rows, each with its rows; they are fetched from the server bit by bit."""
    parameters = {"dates": [day for day in days if day is not None], "no_date": None in days}
    yield from groupby(cursor.stream(query, parameters, rows=ROW_GROUP), key=lambda row: row[position])


def _remove_unnamed(store: BackupStore, manifest: Manifest) -> int:
    """Removes what earlier backups left, and nothing that no backup made."""
    named = {file.name for file in manifest.files}
    unnamed = [name for name in store.names() if is_ours(name) and name not in named]
    store.delete(unnamed)
    return len(unnamed)


def _figures(manifest: Manifest, written: int, removed: int, damaged: dict[str, str]) -> BackedUp:
    rows = sum(each.rows.count for each in manifest.dates)
    keys = sum(each.keys.count for each in manifest.dates)
    return BackedUp(len(manifest.dates), rows, keys, written, removed, damaged)


def _damage_sentence(damaged: dict[str, str]) -> str:
    shown = "; ".join(f"{day}: {reason}" for day, reason in list(damaged.items())[:5])
    more = f"; and {len(damaged) - 5} more" if len(damaged) > 5 else ""
    return (
        f"{len(damaged)} dates or audit tables look damaged and keep their last backup ({shown}{more}); the others are "
        "backed up; run `login-pipeline restore --dry-run`, or, where it was done on purpose, "
        "`login-pipeline backup --accept-losses`"
    )
