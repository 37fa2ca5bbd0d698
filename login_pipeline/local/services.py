"""Both embedded services together, and the environment in which the pipeline uses them."""

import fcntl
import os
import secrets
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO

from login_pipeline.errors import ConfigurationError
from login_pipeline.local.ports import wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.sqs import LocalSqs, create_queue, sdk_environment
from login_pipeline.settings import read_settings, variable

QUEUE = "logins"
DEAD_LETTER_QUEUE = "logins-dead-letter"
ENVIRONMENT = "env"
# How long to wait for services that are shutting down.
LOCK_SECONDS = 30.0


@contextmanager
def local_services(folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Starts the services and stops them at the end, also when this process is killed.

    Args:
        folder: Where their data stays; `local_folder()` without it.

    Yields:
        The settings that make this pipeline use them, as environment variables.

    Raises:
        ConfigurationError: they run already, or cannot be started.
    """
    folder = folder or local_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"LOGIN_LOCAL_DIR={folder} cannot be made: {error.strerror}; name another") from None
    leave_accounts_behind()
    with ExitStack() as stack:
        lock = stack.enter_context(_locked(folder))
        queue_server = LocalSqs(folder / "sqs", keep_open=(lock,))
        stack.callback(queue_server.stop)
        database_server = LocalPostgres(folder / "postgresql", keep_open=(lock,))
        stack.callback(database_server.stop)
        database_server.create_database("dagster")
        yield {
            **sdk_environment(queue_server.endpoint),
            variable("queue_url"): create_queue(queue_server.endpoint, QUEUE),
            variable("dead_letter_queue_url"): create_queue(queue_server.endpoint, DEAD_LETTER_QUEUE),
            variable("database_url"): database_server.create_database("logins"),
            variable("database_password_source"): "",
            variable("maintenance_database_url"): "",  # or pruning would reach the database in a shell that has one set
            variable("masking_key"): _masking_key(folder / "masking_key"),
            variable("masking_key_source"): "",
            variable("backup_url"): str(folder / "backup"),
            # Dagster reads it, and knows no default.
            variable("max_concurrent_runs"): str(read_settings().max_concurrent_runs),
            "LOGIN_DAGSTER_DATABASE_URL": database_server.url("dagster", "postgresql+psycopg2"),
            "DAGSTER_HOME": str(_dagster_home(folder / "dagster")),
        }


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for services that is removed afterwards; PostgreSQL's account can reach it."""
    with tempfile.TemporaryDirectory(prefix="login-pipeline-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def local_folder() -> Path:
    """Where the services' data stays: LOGIN_LOCAL_DIR."""
    return Path(read_settings().local_dir).absolute()


def leave_accounts_behind() -> None:
    """Takes out of this process's environment what would lead the SDK and libpq anywhere but to our services."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "PG")) or name.lower().endswith("_proxy"):
            del os.environ[name]


def pipeline_environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment with `settings` in it."""
    return {**os.environ, **settings}


def environment_file(folder: Path, settings: dict[str, str]) -> Path:
    """Writes the settings as a file that a shell can read, for this user only."""
    file = folder / ENVIRONMENT
    file.touch(mode=0o600)
    file.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()))
    return file


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Holds the folder until this process and the servers it starts are gone; yields the lock's descriptor."""
    with (folder / "lock").open("a+") as file:

        def lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not wait_until(lock, seconds=LOCK_SECONDS, still_possible=lambda: not _is_alive(_owner(file))):
            raise ConfigurationError(
                f"The local services of {folder} are in use by process {_owner(file)}; stop it, or set LOGIN_LOCAL_DIR "
                "to another folder"
            )
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        (folder / ENVIRONMENT).unlink(missing_ok=True)  # of one that was killed
        yield file.fileno()


def _owner(file: IO[str]) -> int:
    """The process that holds the lock, or held it last; 0 where none ever did."""
    file.seek(0)
    return int(file.read() or 0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0


def _masking_key(file: Path) -> str:
    """Made once, so that masks stay equal from one start to the next."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


def _dagster_home(folder: Path) -> Path:
    """The folder that Dagster reads its instance's configuration from; it stores nothing in it."""
    folder.mkdir(exist_ok=True)
    configuration = files("login_pipeline.local").joinpath("dagster.yaml").read_text(encoding="utf-8")
    (folder / "dagster.yaml").write_text(configuration, encoding="utf-8")
    return folder
