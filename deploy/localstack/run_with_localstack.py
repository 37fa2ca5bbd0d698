"""Runs a command with the real LocalStack 4.4.0 and the system's PostgreSQL: on loopback, empty, and gone afterwards.

    .venv/bin/python deploy/localstack/run_with_localstack.py COMMAND ...

No container and no account. The first run installs LocalStack into .venv-localstack. LOCALSTACK_PORT names another
port than 4566, PG_BINDIR the folder of initdb and postgres, LOCALSTACK_PYTHON the Python to install LocalStack with.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from login_pipeline.errors import ConfigurationError
from login_pipeline.local import supervisor as guard
from login_pipeline.local.ports import HOST, is_listening, wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import DEAD_LETTER_QUEUE, QUEUE, pipeline_environment
from login_pipeline.local.sqs import create_queue, sdk_environment

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("requirements.lock")
VENV = CHECKOUT / ".venv-localstack"
# What of the lock is published as source only: pure Python, built with the setuptools of the lock.
BUILT_HERE = "airspeed-ext,crontab,jsonpath-rw,tailer"
START_SECONDS = 60.0
# Lines of a log that are shown where a server does not start.
LOG_LINES = 15
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(command: list[str]) -> int:
    """The command's exit code, 128 and the signal where one ended it; 2 when the services do not start."""
    if not command:
        sys.stderr.write(f"usage: {sys.argv[0]} COMMAND ...\n")
        return 2
    for number in SIGNALS:
        signal.signal(number, _leave)
    with ExitStack() as stack:
        try:
            binaries = _postgres_binaries()  # before a long installation
            python = _installed_localstack()
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="login-pipeline-localstack-")))
            folder.chmod(0o711)  # PostgreSQL's account passes through it where we are root
            postgres = LocalPostgres(folder / "postgresql", binaries=binaries)
            stack.callback(postgres.stop)
            sqs = _start_localstack(python, folder / "localstack", stack)
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        settings = {
            **sqs,
            "LOGIN_DATABASE_URL": postgres.create_database("logins"),
            "LOGIN_MAINTENANCE_DATABASE_URL": "",
            "LOGIN_TEST_DATABASE_URL": postgres.url("postgres"),
            "LOGIN_MASKING_KEY": secrets.token_hex(32),
        }
        return _run(command, pipeline_environment(settings))


def _leave(number: int, _: object) -> None:
    """Ends this process by way of everything that is to be stopped; a second signal does not disturb that."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def _installed_localstack() -> Path:
    """The Python of the virtual environment that has LocalStack in it, made where it is missing or out of date."""
    python, stamp = VENV / "bin" / "python", VENV / ".installed"
    if stamp.exists() and stamp.stat().st_mtime >= LOCK.stat().st_mtime:
        return python
    base = os.environ.get("LOCALSTACK_PYTHON", sys.executable)
    sys.stderr.write(f"Setting up {VENV.name} with the locked LocalStack (about a minute, once) ...\n")
    _install([base, "-m", "venv", "--clear", str(VENV)])
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as build_backend:
        build_backend.write(_locked("setuptools"))
        build_backend.flush()
        _install([*pip, "--only-binary", ":all:", "-r", build_backend.name])
    # Not isolated, or pip fetches a build backend that no hash vouches for.
    sources = ["--no-binary", BUILT_HERE, "--no-build-isolation"]
    _install([*pip, "--only-binary", ":all:", *sources, "-r", str(LOCK)])
    stamp.touch()
    return python


def _locked(package: str) -> str:
    """The entry of a package in the lock: its version and its hashes."""
    entry = re.search(rf"^{package}==.*\n(?: +.*\n)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert entry is not None  # noqa: S101 - our own lock has it
    return entry[0]


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command of ours
    except OSError as error:
        raise ConfigurationError(f"LocalStack cannot be installed: {command[0]}: {error.strerror}") from None
    if done.returncode:
        raise ConfigurationError(
            "LocalStack cannot be installed; its locked packages have wheels for Python 3.11 and 3.12 on Linux, and "
            f"LOCALSTACK_PYTHON=python3.12 names another Python than this one:\n{_tail(done.stdout + done.stderr)}"
        )


def _start_localstack(python: Path, folder: Path, stack: ExitStack) -> dict[str, str]:
    """Starts LocalStack and makes the queues; returns the settings that the pipeline and its tests use them by."""
    port = _localstack_port()
    if is_listening(port):
        raise ConfigurationError(f"Port {port} is in use; stop what listens there, or set LOCALSTACK_PORT to another")
    folder.mkdir(mode=0o700)
    log = folder / "server.log"
    server = guard.start(
        [str(python), "-m", "localstack.runtime.main"],
        log=log,
        stop_signal=signal.SIGKILL,  # an orderly shutdown takes 12 s, and nothing is kept
        env=_localstack_environment(folder, port),
    )
    stack.callback(guard.stop, server)
    if not wait_until(lambda: is_listening(port), seconds=START_SECONDS, still_possible=lambda: server.poll() is None):
        raise _not_started("LocalStack", log)
    endpoint = f"http://{HOST}:{port}"
    try:
        queues = [create_queue(endpoint, name) for name in (QUEUE, DEAD_LETTER_QUEUE)]
    except (BotoCoreError, ClientError):
        raise _not_started("LocalStack", log) from None
    return {
        **sdk_environment(endpoint),
        "LOGIN_TEST_SQS_ENDPOINT": endpoint,
        **dict(zip(("LOGIN_QUEUE_URL", "LOGIN_DEAD_LETTER_QUEUE_URL"), queues, strict=True)),
    }


def _localstack_port() -> int:
    value = os.environ.get("LOCALSTACK_PORT") or "4566"
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise ConfigurationError("LOCALSTACK_PORT is not the number of a port; for example LOCALSTACK_PORT=4567")
    return int(value)


def _localstack_environment(folder: Path, port: int) -> dict[str, str]:
    """LocalStack's whole environment: SQS only, everything it writes in the folder, and nothing from outside."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "FILESYSTEM_ROOT": str(folder / "root"),  # instead of /var/lib/localstack
        "CONFIG_DIR": str(folder / "config"),  # or it reads ~/.localstack
        "OVERRIDE_IN_DOCKER": "0",  # in a container it would write to /var/lib and /etc/resolv.conf
        "DNS_ADDRESS": "0",  # or it starts a name server on port 53 of every interface, by sudo if need be
        # This way of writing 127.0.0.1 because 4.4.0 ignores an IPv4 host, and then listens on every interface.
        "GATEWAY_LISTEN": f"[::ffff:{HOST}]:{port}",
        "LOCALSTACK_HOST": f"{HOST}:{port}",
        "SQS_ENDPOINT_STRATEGY": "path",  # queue URLs with this host, which need no name server
        "SERVICES": "sqs",
        "SQS_DISABLE_CLOUDWATCH_METRICS": "1",  # there is no CloudWatch to send them to
        "DISABLE_EVENTS": "1",  # no usage statistics to LocalStack's makers
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "LS_LOG": "warning",  # no message body is ever logged
    }


def _postgres_binaries() -> Path:
    """The folder of the newest PostgreSQL server: PG_BINDIR, where Debian has them, or where pg_config says."""
    if named := os.environ.get("PG_BINDIR"):
        folders = [Path(named)]
    else:
        folders = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=_version, reverse=True)
        if pg_config := shutil.which("pg_config"):
            asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
            folders.append(Path(asked.stdout.strip()))
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    where = f" in PG_BINDIR={named}" if named else ""
    raise ConfigurationError(
        f"There is no PostgreSQL server{where}; apt-get install postgresql, or set PG_BINDIR to the folder of initdb"
    )


def _version(binaries: Path) -> float:
    try:
        return float(binaries.parent.name)
    except ValueError:
        return 0.0


def _not_started(name: str, log: Path) -> ConfigurationError:
    text = log.read_text(encoding="utf-8", errors="replace")
    return ConfigurationError(f"{name} does not start; the end of its log:\n{_tail(text)}")


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LOG_LINES:])


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Runs the command with .venv first on PATH; signals end it first, and by that us."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    try:
        child = subprocess.Popen(command, env={**environment, "PATH": path})  # noqa: S603 - what we were asked to run
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127

    def pass_on(number: int, _: object) -> None:
        if number != signal.SIGINT or not _is_terminal_foreground():
            child.send_signal(number)

    for number in SIGNALS:
        signal.signal(number, pass_on)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _is_terminal_foreground() -> bool:
    """Whether a Ctrl-C in the terminal reaches the command without us; from us it would be a second one."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
