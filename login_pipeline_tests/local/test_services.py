"""The embedded services: what they keep, who may use them, and how they end."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg2
import pytest

from login_pipeline.local import __main__ as command_line
from login_pipeline.local import supervisor
from login_pipeline.local.ports import is_listening, wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline.postgres.role import Access
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Database, Queue, client_of


class Running(NamedTuple):
    """Services that run, and the settings with which they are used."""

    folder: Path
    settings: dict[str, str]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with temporary_folder() as folder, local_services(folder) as settings:
        yield Running(folder, settings)


def test_messages_rows_and_the_masking_key_are_there_at_the_next_start() -> None:
    with temporary_folder() as folder:
        with local_services(folder) as first:
            Queue(client_of(first["AWS_ENDPOINT_URL_SQS"]), first["LOGIN_QUEUE_URL"]).send("a message")
            Database(first["LOGIN_DATABASE_URL"]).query("CREATE TABLE kept AS SELECT 7 AS number")
        with local_services(folder) as again:
            queue = Queue(client_of(again["AWS_ENDPOINT_URL_SQS"]), again["LOGIN_QUEUE_URL"])
            assert [message["Body"] for message in queue.take_all()] == ["a message"]
            assert Database(again["LOGIN_DATABASE_URL"]).query("SELECT number FROM kept") == [(7,)]
    assert first["LOGIN_MASKING_KEY"] == again["LOGIN_MASKING_KEY"]


def test_database_asks_for_a_password(running: Running) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(running.settings["LOGIN_DATABASE_URL"].replace("login_pipeline:", "login_pipeline:wrong"))


def test_folder_that_the_server_s_account_cannot_reach_is_no_obstacle() -> None:
    with temporary_folder() as folder:
        folder.chmod(0o700)
        if os.geteuid() == 0:
            (folder / "postgresql").symlink_to(folder / "cleaned-away")
        postgres = LocalPostgres(folder / "postgresql")
        assert Database(postgres.url("postgres")).query("SELECT 1") == [(1,)]
        postgres.stop()
        link = folder / "postgresql"
        if link.is_symlink():  # only as root, where the server runs as another account
            subprocess.run(["/bin/rm", "-r", str(link.resolve())], check=True)


def test_programs_that_the_server_s_account_cannot_read_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkout below /root; as an ordinary user there is nothing to reach."""
    monkeypatch.setattr("login_pipeline.local.postgres._may_reach", lambda path, _account: path.is_dir())
    with temporary_folder() as folder:
        postgres = LocalPostgres(folder / "postgresql")
        assert Database(postgres.url("postgres")).query("SELECT 1") == [(1,)]
        postgres.stop()
        assert (folder / "postgresql" / "postgresql-18").exists() == (os.geteuid() == 0)


def test_secrets_are_for_this_user_only(running: Running) -> None:
    modes = {"masking_key": 0o600, "postgresql/password": 0o600, "sqs": 0o700}
    assert {name: stat.S_IMODE((running.folder / name).stat().st_mode) for name in modes} == modes


def test_embedded_services_are_maintained_and_no_other_database(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", "postgresql://owner:password@db.example.com/production")
    for name, value in running.settings.items():
        monkeypatch.setenv(name, value)
    assert Access.from_settings(read_settings(), maintenance=True).variable == "LOGIN_DATABASE_URL"


def test_services_that_run_already_are_one_sentence(running: Running) -> None:
    environment = {**os.environ, "LOGIN_LOCAL_DIR": str(running.folder)}
    command = [sys.executable, "-m", "login_pipeline.local", "true"]
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith(f"The local services of {running.folder} are in use by process {os.getpid()}; ")
    assert len(second.stderr.splitlines()) == 1


@pytest.mark.usefixtures("running")
def test_servers_listen_on_loopback_only() -> None:
    listening = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it is gone already
            sockets = process.net_connections("inet")
            listening |= {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_exit_code_of_the_command_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "local_services", lambda _folder: nullcontext({}))
    monkeypatch.setattr(sys, "argv", ["local", "--temporary", "--", "sh", "-c", "exit 7"])
    assert command_line.main() == 7


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_when_their_owner_is_killed(how: signal.Signals) -> None:
    show = "echo $LOGIN_DATABASE_URL $AWS_ENDPOINT_URL_SQS; sleep 60"
    with temporary_folder() as folder:
        command = [sys.executable, "-m", "login_pipeline.local", "sh", "-c", show]
        environment = {**os.environ, "LOGIN_LOCAL_DIR": str(folder)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0, env=environment) as owner:
            assert owner.stdout is not None
            database, endpoint = owner.stdout.readline().split()
            ports = [int(database.split(":")[-1].split("/")[0]), int(endpoint.split(":")[-1])]
            assert all(is_listening(port) for port in ports)
            os.kill(owner.pid, how)
            owner.wait()
            assert wait_until(lambda: not any(map(is_listening, ports)), seconds=30)
            os.killpg(owner.pid, signal.SIGKILL)  # the sleeping shell


def test_supervisor_passes_on_the_exit_code_of_a_server_that_ends_on_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = supervisor.start(
        ["/bin/sh", "-c", "exit 3"], log=log, stop_signal=signal.SIGTERM, env={"PATH": os.defpath}
    )
    assert server.wait() == 3
    supervisor.stop(server)
    assert log.read_text() == ""


def test_server_gets_its_stop_signal_where_it_was_started_with_signals_ignored(tmp_path: Path) -> None:
    """As a shell ignores SIGINT for what a script starts with `&`; another starter may block it."""
    before, blocked = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        command, environment = ["/bin/sh", "-c", "echo ready; exec sleep 60"], {"PATH": os.defpath}
        server = supervisor.start(command, log=tmp_path / "log", stop_signal=signal.SIGINT, env=environment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
    assert wait_until(lambda: (tmp_path / "log").read_text() == "ready\n", seconds=30)
    supervisor.stop(server)
    assert server.returncode == 256 - signal.SIGINT


def test_server_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "data").mkdir()
        (folder / "data" / "PG_VERSION").write_text("9.1\n")
        with pytest.raises(Exception, match=r"The embedded PostgreSQL does not start; .*server.log says why"):
            LocalPostgres(folder)
