"""A PostgreSQL server of a campaign's own, which can be restarted and whose disk can be full."""

from pathlib import Path

from login_pipeline.local.postgres import LocalPostgres
from login_pipeline_tests.conftest import Database
from login_pipeline_tests.faults.full_disk import DatabaseOnADisk, server_with_a_disk


class DatabaseServer:
    """One server. Its database has the same URL after a restart."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o711)
        disk, self._binaries = server_with_a_disk(folder)
        self._folder = folder / "postgresql"
        self._postgres = LocalPostgres(self._folder, binaries=self._binaries)
        self.url = self._postgres.create_database("logins")
        self.disk = DatabaseOnADisk(Database(self.url), disk)

    def restart(self) -> None:
        """Cuts all connections off, rolls back what they were at, and starts again."""
        self._postgres.stop()
        self._postgres = LocalPostgres(self._folder, binaries=self._binaries, port=self._postgres.port)

    def stop(self) -> None:
        """Shuts the server down."""
        self._postgres.stop()
