"""Whose a backup is: the database has an identity that `login-pipeline prepare` made, and the manifest carries it.

A backup of one database never takes the place of another's, and a restore brings no other database's rows, unless a
person insists with `--take-over`.
"""

from typing import NamedTuple

from psycopg2 import errors, sql

from login_pipeline.backup.manifest import MANIFEST, BackupDatabase, Manifest
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import Table, is_there

# What they hold says nothing about whether a database was used.
_NOT_DATA = {Table.BACKUP, Table.DEAD_LETTERS}


class Identity(NamedTuple):
    """A database, and the id of the one whose backup was restored into it, if any was."""

    database: BackupDatabase
    restored_from: str | None

    def made(self, manifest: Manifest) -> bool:
        """Whether the backup is this database's own."""
        theirs = manifest.database
        return (self.database.id, self.database.place) == (theirs.id, theirs.place)

    def descends_from(self, manifest: Manifest) -> bool:
        """Whether this database is a copy of the one that made the backup, or was restored from its backups."""
        return manifest.database.id in (self.database.id, self.restored_from)


def take_turn(cursor: InterruptibleCursor) -> None:
    """Keeps other backups and restores of this database out until the transaction ends. It takes no snapshot.

    Raises:
        BackupError: one is running.
    """
    try:
        cursor.execute(statements.backup.alone)
    except errors.LockNotAvailable:
        raise BackupError("Another backup or restore of this database is running; wait until it has ended") from None


def read_manifest(store: BackupStore) -> Manifest | None:
    """The manifest in the store; None where nothing was backed up yet.

    Raises:
        BackupError: it is damaged.
    """
    with store.open(MANIFEST) as stored:
        return None if stored is None else Manifest.from_json(stored.read())


def identity_of(database: LoginDatabase, cursor: InterruptibleCursor) -> Identity:
    """Which database the cursor is connected to.

    Raises:
        ConfigurationError: its user_logins_backup is empty.
    """
    cursor.execute(statements.backup.identity)
    row = cursor.fetchone()
    if row is None:
        raise ConfigurationError(
            f"Table user_logins_backup in {database.access.variable} is empty, so its database has no identity; drop "
            "the table and run `login-pipeline prepare`"
        )
    id_, place, restored_from = row
    return Identity(BackupDatabase(id=id_, place=place, name=cursor.connection.address()), restored_from)


def require_own_backup(
    database: LoginDatabase, cursor: InterruptibleCursor, manifest: Manifest | None, *, take_over: bool
) -> Identity:
    """Which database this is, where the place in LOGIN_BACKUP_URL is free, or its own, or is to be taken over.

    Raises:
        ConfigurationError: another database's backup is there.
    """
    identity = identity_of(database, cursor)
    if manifest is None or identity.made(manifest) or take_over:
        return identity
    raise ConfigurationError(
        f"{_which(manifest)}; {database.access.variable} names {identity.database}; name another place for its backups "
        "in LOGIN_BACKUP_URL; or, where this database takes the place of that one, run `login-pipeline backup "
        "--take-over`: it replaces that backup"
    )


def require_own_restore(
    database: LoginDatabase, cursor: InterruptibleCursor, manifest: Manifest, *, take_over: bool
) -> None:
    """Returns where the backup may be restored here: into the database that made it, or a new one, or again.

    Raises:
        ConfigurationError: another database made it, and this one holds rows or records.
    """
    if take_over or _is_new(cursor):
        return
    here = "a database that has no table user_logins_backup"
    if is_there(cursor, Table.BACKUP):
        identity = identity_of(database, cursor)
        if identity.made(manifest) or identity.restored_from == manifest.database.id:
            return
        here = str(identity.database)
    raise ConfigurationError(
        f"{_which(manifest)}; {database.access.variable} names {here}, which is not empty; name an empty database, or "
        "run `login-pipeline restore --take-over` to add that one's rows to this one's"
    )


def _which(manifest: Manifest) -> str:
    return (
        f"LOGIN_BACKUP_URL holds the backup of another database, {manifest.database}, of "
        f"{manifest.made_at:%Y-%m-%d %H:%M:%S} UTC"
    )


def _is_new(cursor: InterruptibleCursor) -> bool:
    """Whether nothing was loaded, counted, erased or unmasked here yet, or the tables are not there."""
    return not any(is_there(cursor, table) and _has_rows(cursor, table) for table in Table if table not in _NOT_DATA)


def _has_rows(cursor: InterruptibleCursor, table: str) -> bool:
    cursor.execute(sql.SQL(statements.backup.has_rows).format(table=sql.Identifier(table)))
    return bool(cursor.fetchone() == (True,))
