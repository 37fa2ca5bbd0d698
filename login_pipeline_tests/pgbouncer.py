"""PgBouncer in transaction mode in front of the tests' PostgreSQL: each transaction may get another of its sessions."""

import os
import shutil
import signal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from login_pipeline.local import supervisor
from login_pipeline.local.ports import HOST, free_port, is_listening, wait_until

# Sessions are taken in turn, so that a transaction seldom gets that of the transaction before. A role that a test makes
# logs in with its own password, which PgBouncer looks up. Nothing that a client may ask for is ignored.
_CONFIGURATION = """
[databases]
* = host={upstream.hostname} port={upstream.port}

[pgbouncer]
pool_mode = transaction
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
auth_user = {upstream.username}
server_round_robin = 1
max_client_conn = 1000
"""
# Debian puts it where the PATH of a user who is not root may not lead.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


class PgBouncer:
    """One that runs until `stop`; its files are in `folder`."""

    def __init__(self, folder: Path, upstream_url: str) -> None:
        """`upstream_url` is of a superuser: PgBouncer looks passwords up with it."""
        program = shutil.which("pgbouncer", path=_PATH)
        assert program, "LOGIN_TEST_PGBOUNCER needs a pgbouncer: apt-get install pgbouncer"
        self._port = free_port()
        upstream = urlsplit(upstream_url)
        folder.mkdir()
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{upstream.username}" "{upstream.password}"\n')
        text = _CONFIGURATION.format(upstream=upstream, host=HOST, port=self._port, users=users)
        # It refuses to run as root.
        configuration.write_text(text + ("user = nobody\n" if os.geteuid() == 0 else ""))
        self._supervisor = supervisor.start(
            [program, "--quiet", str(configuration)],
            log=folder / "server.log",
            stop_signal=signal.SIGTERM,
            env={"PATH": os.defpath},
        )
        listening = wait_until(
            lambda: is_listening(self._port), seconds=10, still_possible=lambda: self._supervisor.poll() is None
        )
        assert listening, (folder / "server.log").read_text()

    def url(self, direct_url: str) -> str:
        """The URL of the same database by way of this."""
        parts = urlsplit(direct_url)
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{HOST}:{self._port}"))

    def stop(self) -> None:
        supervisor.stop(self._supervisor)
