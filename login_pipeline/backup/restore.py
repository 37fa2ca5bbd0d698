"""Rebuilds user_logins and its inbox from a backup: every file is verified first, then a date a transaction.

Nothing that was loaded after the backup is removed, and nobody who was erased after it comes back, nor a date that has
expired. What a restore did is found again by the next, so one that was cut off is run again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, NamedTuple

from login_pipeline.backup.audit import erasures_in_backup, restore_audit
from login_pipeline.backup.export import DateState, Day, dates_in_database
from login_pipeline.backup.identity import identity_of, read_manifest, require_own_restore, take_turn
from login_pipeline.backup.manifest import BackupDatabase, BackupDate, BackupFile, Manifest, date_name
from login_pipeline.backup.parquet import open_verified, read_rows
from login_pipeline.backup.reconcile import Comparison, DateRestored, Entries, plan, without_keys
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import copy_lines
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import add_months
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import Rights, Table, create_tables, is_there, missing_tables, require
from login_pipeline.privacy.erasure import ErasedUsers, all_erasures, erased_since
from login_pipeline.privacy.expiry import expire_date, is_over
from login_pipeline.settings import Settings

_RIGHTS: Rights = {
    Table.LEDGER: "INSERT UPDATE DELETE",
    Table.INBOX: "DELETE",
    Table.USER_LOGINS: "DELETE",
    Table.ERASURES: "INSERT",
    Table.UNMASKINGS: "INSERT",
    Table.BACKUP: "DELETE",
}


class Restored(NamedTuple):
    """What a restore did, or would do; `touched` are the dates on which there was something to do or to say.

    `withheld` are rows in the backup of users who were erased since: they stay out. `audit_records_added` are those of
    erasures and unmaskings that the database lacked. `database` made the backup; `of_another` where it is not this one,
    and nobody insisted.
    """

    made_at: datetime
    dry_run: bool
    dates: int
    touched: list[DateRestored]
    withheld: int
    audit_records_added: int
    database: BackupDatabase
    of_another: bool

    def total(self, name: str) -> int:
        """The sum of one figure over the dates."""
        return sum(getattr(each, name) for each in self.touched)

    def figures(self) -> dict[str, Any]:
        """By name, for `restore --json`."""
        names = DateRestored._fields[1:]
        return {
            "made_at": self.made_at.isoformat(),
            "dry_run": self.dry_run,
            "dates": self.dates,
            **{name: self.total(name) for name in names},
            "rows_withheld": self.withheld,
            "audit_records_added": self.audit_records_added,
            "database": str(self.database),
            "of_another_database": self.of_another,
            "by_date": [{**each._asdict(), "create_date": date_name(each.create_date)} for each in self.touched],
        }

    @property
    def complete(self) -> bool:
        """Whether every row is there that a key or the backup promises, as it was, and nobody's who was erased."""
        return not (self.total("rows_lost") or self.total("rows_that_differ") or self.of_another)

    def advice(self) -> Iterator[str]:
        """A sentence for each thing that this restore could not repair."""
        if self.of_another:
            yield (
                f"The backup is of another database, {self.database}, and whom that one erased after "
                f"{self.made_at:%Y-%m-%d %H:%M:%S} UTC is in it: run `login-pipeline forget` for them again; then "
                "`login-pipeline backup --take-over`, where this database takes the place of that one"
            )
        if rows := self.total("rows_lost"):
            yield (
                f"{rows} rows are lost on {self._dates('rows_lost')}: their messages were loaded after the backup; get "
                "them from PostgreSQL's own archive, or run `login-pipeline restore --drop-lost-keys`, so that those "
                "messages are loaded when they come again"
            )
        if rows := self.total("rows_that_differ"):
            yield (
                f"{rows} rows on {self._dates('rows_that_differ')} differ from the backup and were left as they are; "
                "`login-pipeline restore --replace` removes them where the backup's rows take their place"
            )
        if rows := self.total("rows_without_key"):
            yield (
                f"{rows} rows on {self._dates('rows_without_key')} have no key in the backup: they stay, those of "
                "their messages that are still on the queue will be loaded again, and `login-pipeline backup "
                "--accept-losses` takes them into the backup"
            )

    def _dates(self, name: str) -> str:
        days = [date_name(each.create_date) for each in self.touched if getattr(each, name)]
        return ", ".join(days[:10]) + (f" and {len(days) - 10} more dates" if len(days) > 10 else "")


def restore(
    database: LoginDatabase,
    store: BackupStore,
    *,
    dry_run: bool = False,
    replace: bool = False,
    drop_lost_keys: bool = False,
    take_over: bool = False,
) -> Restored:
    """Adds what the tables lack, and creates them where they are lost.

    Args:
        database: Where the tables are, or were.
        store: Where the backup is.
        dry_run: Roll back what was done for each date; the figures are the same.
        replace: Remove rows that neither the backup has nor a load after it.
        drop_lost_keys: Delete the keys of batches loaded after the backup of which no row is left.
        take_over: Restore another database's backup also where this one holds rows.

    Raises:
        ConfigurationError: there is no backup, it is another database's, or the database or its rights do not do.
            Nothing was changed.
        BackupError: the backup is damaged, or lacks the proof of an erasure, and nothing was changed; or the store
            failed, and whole dates were.
        DatabaseError: PostgreSQL refused; whole dates were restored before.
    """
    with database.transaction() as turn:
        turn.execute(statements.backup.session)
        if is_there(turn, Table.BACKUP):  # else no other can be running: it would have made the table
            take_turn(turn)
        manifest = _verified(store)
        require_own_restore(database, turn, manifest, take_over=take_over)
        _erasures(database, turn, store, manifest)
        if not dry_run:
            database.prepare()
            with database.transaction() as cursor:
                require(cursor, database.access, _RIGHTS)
            take_turn(turn)
        with _transaction(database, dry_run) as cursor:  # before any row, so that no erased user comes back
            if not dry_run:
                cursor.execute(statements.ledger.lock_alone)
            records = restore_audit(cursor, store, manifest.audit)
            erased = _erasures(database, cursor, store, manifest)
            of_another = not identity_of(database, cursor).made(manifest)
            if of_another:
                cursor.execute(statements.backup.restored_from, {"database_id": manifest.database.id})
        with _transaction(database, dry_run) as cursor:
            states = dates_in_database(cursor)
        restored = [
            _restore_date(
                database, store, day, backup, erased, dry_run=dry_run, replace=replace, drop_lost_keys=drop_lost_keys
            )
            for day, backup in _differing(manifest, states)
        ]
    return Restored(
        made_at=manifest.made_at,
        dry_run=dry_run,
        dates=len(manifest.dates),
        touched=[each for each, _ in restored if any(each[1:])],
        withheld=sum(rows for _, rows in restored),
        audit_records_added=records,
        database=manifest.database,
        of_another=of_another and not take_over,
    )


def _verified(store: BackupStore) -> Manifest:
    manifest = read_manifest(store)
    if manifest is None:
        raise ConfigurationError("LOGIN_BACKUP_URL holds no backup; name the folder or the bucket that has one")
    for file in manifest.files:
        with open_verified(store, file):
            pass
    return manifest


class _Erasures(NamedTuple):
    """The erasures in the backup, each with its moment, and the users whose erasure the backup has never seen."""

    settings: Settings
    in_backup: frozenset[tuple[datetime, str]]
    unseen: frozenset[str]

    def since(self, cursor: InterruptibleCursor, moment: datetime | None) -> ErasedUsers | None:
        """The users whose rows may be in files that have seen the erasures until `moment`; raises as `erased_since`."""
        later = {subject for erased_at, subject in self.in_backup if moment is None or erased_at > moment}
        return erased_since(cursor, self.settings, moment, also=self.unseen | later)


def _erasures(
    database: LoginDatabase, cursor: InterruptibleCursor, store: BackupStore, manifest: Manifest
) -> _Erasures:
    """All that is known of them; an error before anything is changed where it is not enough.

    Raises:
        BackupError: the manifest has seen an erasure that neither the database nor the backup has the proof of.
        ConfigurationError: the key of one of them is not among the masking keys.
    """
    here, in_backup = all_erasures(cursor), erasures_in_backup(store, manifest.audit)
    erased = _Erasures(database.settings, in_backup, frozenset(subject for _, subject in here - in_backup))
    shown = {erased_at for erased_at, _ in here | in_backup}
    for moment in {each.erased_until for each in manifest.dates}:
        if moment is not None and moment not in shown:
            raise BackupError(
                f"The backup has seen an erasure of {moment:%Y-%m-%d %H:%M:%S} UTC, and neither user_logins_erasures "
                "nor the backup has its proof, so rows of users who were erased could come back; nothing was changed; "
                "put back a copy of the backup that has it, or the records of user_logins_erasures"
            )
        erased.since(cursor, moment)
    return erased


@contextmanager
def _transaction(database: LoginDatabase, dry_run: bool) -> Iterator[InterruptibleCursor]:
    with database.transaction() as cursor:
        cursor.execute(statements.restore.isolation)
        cursor.execute(statements.backup.session)
        if dry_run:
            create_tables(cursor, missing_tables(cursor))  # rolled back
        yield cursor
        if dry_run:
            cursor.connection.rollback()


def _differing(manifest: Manifest, states: dict[Day, DateState]) -> Iterator[tuple[Day, BackupDate | None]]:
    """The dates that are not as the backup has them; and those it does not have whose rows are not those expected."""
    backups = {each.create_date: each for each in manifest.dates}
    for day, backup in backups.items():
        state = states.get(day)
        if state is None or not state.equals(backup):
            yield day, backup
    for day, state in states.items():
        if day not in backups and state.rows != state.expected:
            yield day, None


def _restore_date(
    database: LoginDatabase,
    store: BackupStore,
    day: Day,
    backup: BackupDate | None,
    erased: _Erasures,
    *,
    dry_run: bool,
    replace: bool,
    drop_lost_keys: bool,
) -> tuple[DateRestored, int]:
    """One transaction; also how many rows of erased users the backup has, which stay out.

    The files are staged before the tables are locked, so loads wait for the comparison only. Erasures wait from the
    start: one that was committed after the staging would be undone.
    """
    with _transaction(database, dry_run) as cursor:
        if not dry_run:  # what is only looked at keeps nobody waiting
            cursor.execute(statements.ledger.lock_alone)
        cursor.execute(statements.restore.stage)
        if day is not None and is_over(cursor, day, days=database.settings.retention_days):
            return _restore_expired(cursor, store, day, backup, dry_run=dry_run), 0
        withheld = 0 if backup is None else _stage(cursor, store, backup, erased)
        if not dry_run:
            cursor.execute(statements.restore.lock)
        cursor.execute(statements.restore.compare, {"date": day})
        rotated_at = backup.rotated_at if backup else None
        cursor.execute(statements.restore.comparison, {"date": day, "rotated_at": rotated_at})
        found = Comparison._make((*(cursor.fetchone() or ()), backup.ledger if backup else None, withheld))
        to_do = plan(found, replace=replace and backup is not None)
        if day is not None and backup is not None and backup.rows.count:
            add_months(cursor, of=day)
        keys_added = _count(cursor, statements.restore.add_keys)
        rows_removed = _count(cursor, statements.restore.remove_rows) if to_do.remove_extra else 0
        rows_added = _count(cursor, statements.restore.add_rows) if to_do.add_rows else 0
        unexplained = 0 if to_do.remove_extra else found.extra_rows
        forget = drop_lost_keys and to_do.lost and not unexplained
        keys_forgotten = _count(cursor, statements.restore.drop_lost_keys) if forget else 0
        ledger = without_keys(to_do.ledger, keys_forgotten - to_do.lost)
        _write_ledger(cursor, day, found.ledger, ledger, rotated_at=rotated_at)
    done = DateRestored(
        create_date=day,
        rows_added=rows_added,
        keys_added=keys_added,
        rows_removed=rows_removed,
        rows_that_differ=0 if to_do.add_rows else found.extra_rows,
        rows_without_key=to_do.rows_without_key,
        rows_lost=max(to_do.lost - keys_forgotten, 0),
        keys_forgotten=keys_forgotten,
    )
    return done, withheld


def _restore_expired(
    cursor: InterruptibleCursor, store: BackupStore, day: date, backup: BackupDate | None, *, dry_run: bool
) -> DateRestored:
    """No row comes back, and none stays. The messages do, so that SQS's delivering one again only deletes it."""
    if backup is not None:
        _copy(cursor, store, statements.restore.copy_keys, backup.keys)
    if not dry_run:
        cursor.execute(statements.restore.lock)
    cursor.execute(statements.restore.compare, {"date": day})
    keys_added = _count(cursor, statements.restore.add_keys)
    return DateRestored(day, 0, keys_added, expire_date(cursor, day), 0, 0, 0, 0)


def _stage(cursor: InterruptibleCursor, store: BackupStore, backup: BackupDate, erased: _Erasures) -> int:
    """How many rows were left out because their users were erased after this backup."""
    staged = _copy(cursor, store, statements.restore.copy_rows, backup.rows, erased.since(cursor, backup.erased_until))
    _copy(cursor, store, statements.restore.copy_keys, backup.keys)
    return backup.rows.count - staged


def _copy(
    cursor: InterruptibleCursor, store: BackupStore, statement: str, file: BackupFile, erased: ErasedUsers | None = None
) -> int:
    copied = 0
    with open_verified(store, file) as stored:
        for rows in read_rows(stored):
            kept = erased.without(rows) if erased else rows
            cursor.copy_expert(statement, copy_lines(kept))
            copied += len(kept)
    return copied


def _write_ledger(
    cursor: InterruptibleCursor, day: Day, was: Entries, is_now: Entries, *, rotated_at: datetime | None
) -> None:
    """Writes the entries of the date that change. The backup's `rotated` keeps its time, which is what it is for."""
    for entry in was.keys() | is_now.keys():
        if was.get(entry) != is_now.get(entry):
            key = {"date": day, "entry": entry}
            cursor.execute(statements.restore.remove_entry, key)
            if entry in is_now:
                changed_at = rotated_at if entry == "rotated" else None
                values = {**key, "rows": is_now[entry], "changed_at": changed_at}
                cursor.execute(statements.restore.add_entry, values)


def _count(cursor: InterruptibleCursor, statement: str) -> int:
    cursor.execute(statement)
    return cursor.rowcount
