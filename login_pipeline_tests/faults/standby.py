"""A real standby, which can be promoted: a server whose data folder says that it follows another one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline_tests.conftest import Database


@contextmanager
def standby(of: Database) -> Iterator[Database]:
    """A hot standby with an empty database of the same name, user and password, until the block is left."""
    parts = urlsplit(of.url)
    with temporary_folder() as folder:
        (folder / "postgresql").mkdir()
        (folder / "postgresql" / "password").write_text(parts.password or "")
        server = LocalPostgres(folder / "postgresql")
        try:
            url = server.create_database(parts.path[1:])
            server.stop()
            _follow(folder / "postgresql" / "data")
            server = LocalPostgres(folder / "postgresql", port=server.port)
            yield Database(url)
        finally:
            server.stop()


def promote(database: Database) -> None:
    """Returns when it takes writes."""
    assert database.query("SELECT pg_promote()") == [(True,)]


def _follow(data: Path) -> None:
    """It has nobody to follow, so it stays as it is. Source: PostgreSQL documentation, "Standby Server Settings"."""
    (data / "standby.signal").touch()
