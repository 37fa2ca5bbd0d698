"""A PostgreSQL that speaks TLS itself: the system's, where there is one; the embedded one is built without."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import trustme
from psycopg2 import sql

from login_pipeline.local.ports import wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder

# Of the newest one that Debian's packages have installed; none on most machines.
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1:]


@contextmanager
def postgres_with_tls(binaries: Path, certificate: trustme.LeafCert) -> Iterator[str]:
    """Starts one with this certificate; the URL of an empty database on it."""
    with temporary_folder() as folder:
        server = LocalPostgres(folder / "postgresql", binaries=binaries)
        try:
            url = server.create_database("logins")
            _turn_tls_on(url, folder, certificate)
            yield url
        finally:
            server.stop()


def _turn_tls_on(url: str, folder: Path, certificate: trustme.LeafCert) -> None:
    files = {"ssl_cert_file": folder / "server.crt", "ssl_key_file": folder / "server.key"}
    certificate.cert_chain_pems[0].write_to_path(files["ssl_cert_file"])
    certificate.private_key_pem.write_to_path(files["ssl_key_file"])
    data = (folder / "postgresql" / "data").stat()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    cursor = connection.cursor()
    for setting, file in files.items():
        os.chown(file, data.st_uid, data.st_gid)  # PostgreSQL takes no key that others may read
        file.chmod(0o600)
        cursor.execute(sql.SQL("ALTER SYSTEM SET {} = %s").format(sql.Identifier(setting)), [str(file)])
    cursor.execute("ALTER SYSTEM SET ssl = 'on'")
    cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    assert wait_until(lambda: _takes_tls(url), seconds=30, still_possible=lambda: True)


def _takes_tls(url: str) -> bool:
    try:
        psycopg2.connect(url, sslmode="require").close()
    except psycopg2.OperationalError:  # it has not read its configuration yet
        return False
    return True
