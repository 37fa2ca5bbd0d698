"""A PostgreSQL whose tables can be put on a disk that is really full.

The disk is a tmpfs that only the server sees, in a mount namespace of its own, so neither root nor a container is
needed. Where the kernel gives an ordinary account no such namespace, a trigger raises the same SQLSTATE instead.
"""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
from psycopg2.errors import DiskFull

from login_pipeline.local.postgres import LocalPostgres, _account, _embedded_binaries
from login_pipeline.local.services import temporary_folder
from login_pipeline_tests.conftest import Database

TABLES = ("user_logins", "user_logins_inbox")

# Mounts as the root of a namespace, then is an ordinary user again, as PostgreSQL demands.
_WITH_A_DISK = """#!/bin/sh
exec unshare --user --map-root-user --mount sh -c '
  mount -t tmpfs -o size=8m,mode=0777 tmpfs "$0" && exec unshare --user --map-user=1000 --map-group=1000 -- "$@"
' {disk} {postgres} "$@"
"""

_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file: No space left on device';
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON {table} EXECUTE FUNCTION refuse();
"""


class DatabaseOnADisk:
    """A database whose tables can be put on a disk that can be filled and freed."""

    def __init__(self, database: Database, disk: Path | None) -> None:
        self.database = database
        self._disk = disk

    def fill(self) -> None:
        """From now on the tables cannot grow by a single page."""
        if self._disk is None:
            for table in TABLES:
                self.database.query(_REFUSE.format(table=table))
            return
        self._outside_a_transaction(f"CREATE TABLESPACE tiny LOCATION '{self._disk}'")
        self._move_tables("tiny")
        self.database.query("CREATE TABLE ballast (page text STORAGE PLAIN) TABLESPACE tiny")
        for pages in (256, 16, 1):
            with suppress(DiskFull):
                while True:
                    self.database.query(
                        "INSERT INTO ballast SELECT repeat('x', 8000) FROM generate_series(1, %s)", pages
                    )

    def free(self) -> None:
        """There is room again, and the tables are where they were."""
        if self._disk is None:
            self.database.query("DROP FUNCTION refuse() CASCADE")
            return
        self.database.query("DROP TABLE ballast")
        self._move_tables("pg_default")
        self._outside_a_transaction("DROP TABLESPACE tiny")

    def _move_tables(self, tablespace: str) -> None:
        for table in TABLES:
            self.database.query(f"ALTER TABLE {table} SET TABLESPACE {tablespace}")

    def _outside_a_transaction(self, statement: str) -> None:
        with closing(psycopg2.connect(self.database.url)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)


@contextmanager
def database_on_a_disk() -> Iterator[DatabaseOnADisk]:
    """A server of its own with an empty database."""
    with temporary_folder() as folder:
        disk, binaries = server_with_a_disk(folder)
        postgres = LocalPostgres(folder / "postgresql", binaries=binaries)
        try:
            yield DatabaseOnADisk(Database(postgres.create_database("logins")), disk)
        finally:
            postgres.stop()


def server_with_a_disk(folder: Path) -> tuple[Path | None, Path | None]:
    """The disk, and the programs of a PostgreSQL that has it; None where this account may not mount one."""
    disk = folder / "disk"
    disk.mkdir(mode=0o777)
    disk.chmod(0o777)
    return (disk, _binaries_with_a_disk(folder, disk)) if _may_mount(disk) else (None, None)


def _may_mount(disk: Path) -> bool:
    """Whether the account that PostgreSQL runs as may have a mount namespace of its own."""
    uid, gid = _account() or (None, None)
    probe = ["/bin/sh", "-c", _WITH_A_DISK.format(disk=disk, postgres="true").partition("\n")[2]]
    with suppress(OSError):
        return subprocess.run(probe, check=False, capture_output=True, user=uid, group=gid).returncode == 0
    return False


def _binaries_with_a_disk(folder: Path, disk: Path) -> Path:
    """PostgreSQL's programs, of which the server mounts the disk before it starts."""
    real = _embedded_binaries(folder, _account())
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "initdb").symlink_to(real / "initdb")
    server = binaries / "postgres"
    server.write_text(_WITH_A_DISK.format(disk=disk, postgres=real / "postgres"))
    server.chmod(0o755)
    return binaries
