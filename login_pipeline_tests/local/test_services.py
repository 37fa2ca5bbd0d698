"""The embedded services: what they keep, who may use them, and how they end."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from login_pipeline.local import supervisor
from login_pipeline.local.ports import is_listening, wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline.local.sqs import LocalSqs

RUN = [sys.executable, "-m", "login_pipeline.local", "--temporary"]


def test_messages_and_rows_are_there_at_the_next_start() -> None:
    with temporary_folder() as folder:
        sqs = LocalSqs(folder / "sqs")
        sqs.create_queue("kept")
        _send(sqs, "a message")
        sqs.stop()
        again = LocalSqs(folder / "sqs")
        assert _receive(again) == "a message"
        again.stop()

        postgres = LocalPostgres(folder / "postgresql")
        _execute(postgres, "CREATE TABLE kept AS SELECT 7 AS number")
        postgres.stop()
        postgres = LocalPostgres(folder / "postgresql")
        assert _execute(postgres, "SELECT number FROM kept") == [(7,)]
        postgres.stop()


def test_database_asks_for_a_password() -> None:
    with temporary_folder() as folder:
        postgres = LocalPostgres(folder / "postgresql")
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(postgres.url("postgres").replace("login_pipeline:", "login_pipeline:wrong"))
        postgres.stop()


def test_folder_that_the_server_s_account_cannot_reach_is_no_obstacle() -> None:
    with temporary_folder() as folder:
        folder.chmod(0o700)
        if os.geteuid() == 0:
            (folder / "postgresql").symlink_to(folder / "cleaned-away")
        postgres = LocalPostgres(folder / "postgresql")
        assert _execute(postgres, "SELECT 1") == [(1,)]
        postgres.stop()
        link = folder / "postgresql"
        if link.is_symlink():  # only as root, where the server runs as another account
            subprocess.run(["/bin/rm", "-r", str(link.resolve())], check=True)


def test_programs_that_the_server_s_account_cannot_read_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkout below /root; as an ordinary user there is nothing to reach."""
    monkeypatch.setattr("login_pipeline.local.postgres._may_reach", lambda path, _account: path.is_dir())
    with temporary_folder() as folder:
        postgres = LocalPostgres(folder / "postgresql")
        assert _execute(postgres, "SELECT 1") == [(1,)]
        postgres.stop()
        assert (folder / "postgresql" / "postgresql-18").exists() == (os.geteuid() == 0)


def test_secrets_are_for_this_user_only() -> None:
    with temporary_folder() as folder, local_services(folder):
        for name in ("masking_key", "postgresql/password"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "sqs").stat().st_mode) == 0o700


def test_services_that_run_already_are_one_sentence() -> None:
    with temporary_folder() as folder, local_services(folder):
        environment = {**os.environ, "LOGIN_LOCAL_DIR": str(folder)}
        command = [sys.executable, "-m", "login_pipeline.local", "true"]
        second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stderr.startswith(f"The local services of {folder} are in use by process {os.getpid()}; ")
    assert len(second.stderr.splitlines()) == 1


def test_exit_code_of_the_command_is_passed_on() -> None:
    assert subprocess.run([*RUN, "sh", "-c", "exit 7"], check=False).returncode == 7


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
            assert wait_until(lambda: not any(map(is_listening, ports)), seconds=30, still_possible=lambda: True)
            os.killpg(owner.pid, signal.SIGKILL)  # the sleeping shell


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_servers_listen_on_loopback_only() -> None:
    with temporary_folder() as folder, local_services(folder):
        addresses = _listening_addresses(_descendants(os.getpid()))
    assert {address.split(":")[0] for address in addresses} == {"0100007F"}


def _descendants(process: int) -> set[int]:
    table = subprocess.check_output(["/bin/ps", "-eo", "pid=,ppid="], text=True).splitlines()
    parents = [(int(child), int(parent)) for child, parent in map(str.split, table)]
    family = {process}
    for _ in range(8):  # generations
        family |= {child for child, parent in parents if parent in family}
    return family


def _listening_addresses(processes: set[int]) -> set[str]:
    """Local addresses of these processes' listening sockets, in hexadecimal."""
    sockets = set()
    for process in processes:
        with suppress(OSError):  # it, or what it has open, is gone already
            sockets |= {str(fd.readlink()) for fd in Path(f"/proc/{process}/fd").iterdir()}
    table = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {fields[1] for fields in table if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets}


def test_supervisor_passes_on_the_exit_code_of_a_server_that_ends_by_itself(tmp_path: Path) -> None:
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
    assert wait_until(lambda: (tmp_path / "log").read_text() == "ready\n", seconds=30, still_possible=lambda: True)
    supervisor.stop(server)
    assert server.returncode == 256 - signal.SIGINT


def test_server_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "data").mkdir()
        (folder / "data" / "PG_VERSION").write_text("9.1\n")
        with pytest.raises(Exception, match=r"The embedded PostgreSQL does not start; .*server.log says why"):
            LocalPostgres(folder)


def _send(sqs: LocalSqs, body: str) -> None:
    client = _client(sqs)
    client.send_message(QueueUrl=sqs.create_queue("kept"), MessageBody=body)


def _receive(sqs: LocalSqs) -> str:
    client = _client(sqs)
    answer = client.receive_message(QueueUrl=sqs.create_queue("kept"), WaitTimeSeconds=1)
    return str(answer["Messages"][0]["Body"])


def _client(sqs: LocalSqs):  # type: ignore[no-untyped-def]
    import boto3

    settings = sqs.sdk_environment()
    return boto3.client(
        "sqs",
        endpoint_url=sqs.endpoint,
        region_name=settings["AWS_REGION"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )


def _execute(postgres: LocalPostgres, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(postgres.url("postgres"))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description and not statement.startswith("CREATE") else []
    finally:
        connection.close()
