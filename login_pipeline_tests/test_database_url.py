"""No part of a password gets out where a database URL is written wrong, and each way to write one right works."""

import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.cli.runs import dagster_instance
from login_pipeline.database_url import url_problem
from login_pipeline.errors import ConfigurationError
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.errors import not_connected
from login_pipeline.postgres.role import Access
from login_pipeline.settings import read_settings
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Pipeline

SECRET = "hunter2"  # noqa: S105 - the test's own
HOST_FORGOTTEN = [
    f"postgresql://loader:{SECRET}/logins",
    f"postgresql://loader:{SECRET}@/logins",
    f"postgresql://loader:{SECRET}@:5432/logins",
    f"postgresql://loader:5{SECRET}@db:54a2/logins",
    f"postgresql://loader:{SECRET}/logins?sslmode=require",
    f"postgresql://h1:5432,loader:{SECRET}/logins",
    f"postgresql://loader:{SECRET}@h1:5432,h2:99999/logins",
    f"postgresql://loader:{SECRET}@h1,/logins",
    f"postgresql://loader:x,{SECRET}/logins",
    f"postgresql://[loader:{SECRET}/logins",
    f"postgresql://loader:se]{SECRET}[/logins",
    f"postgresql://loader:%zz{SECRET}@db/logins",
    f"postgresql://loader:\u2100{SECRET}@/logins",
    f"postgresql://loader@db/logins?passwd={SECRET}",
]
WRITTEN_RIGHT = [
    "postgresql://loader:p@db/logins",
    "postgresql://h1:5432,h2:5433/logins",
    "postgresql://loader:p@h1,h2/logins?target_session_attrs=read-write",
    "postgresql://loader:p@[::1]:5432/logins",
    "postgresql://loader:p@[::1],[fe80::1]:5433/logins",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/logins",
    "postgresql:///logins?host=/var/run/postgresql",
    "postgresql:///logins?host=h1,h2&port=5432,5433",
    "postgresql:///logins?hostaddr=127.0.0.1",
    "postgresql:///?service=logins",
    "postgres://loader:p%40%2F%3A@db:1/logins?sslmode=verify-full&sslrootcert=system",
    "postgresql://loader:p?q#r\u2100@db/logins",
]


@pytest.mark.parametrize("url", HOST_FORGOTTEN)
def test_url_whose_host_is_forgotten_is_refused_without_a_word_of_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match="LOGIN_DATABASE_URL: ") as error:
        read_settings()
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_password_is_quoted_nowhere_where_the_host_is_forgotten(
    pipeline: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline.set(LOGIN_DATABASE_URL=HOST_FORGOTTEN[0])
    (failure,) = pipeline.run().failures
    events = [str(record) for run in pipeline.instance.get_runs() for record in pipeline.instance.all_logs(run.run_id)]
    assert SECRET not in "".join([failure, *events, *capfd.readouterr(), *(finding.says for finding in examine())])


@pytest.mark.parametrize("url", WRITTEN_RIGHT)
def test_every_way_to_write_a_url_of_libpq_is_taken(url: str) -> None:
    assert url_problem(url) is None


def test_host_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert url_problem("postgresql:///logins") is not None
    monkeypatch.setenv("PGHOST", "db")
    assert url_problem("postgresql:///logins") is None


@pytest.mark.parametrize("text", ["{folder}", "{host}"])
def test_socket_and_list_of_hosts_connect(pipeline: Pipeline, text: str) -> None:
    """The second host of a list is tried where nobody listens at the first."""
    parts = urlsplit(pipeline.database.url)
    credentials = parts.netloc.rpartition("@")[0]
    hosts = f"{HOST}:{free_port()},{HOST}:{parts.port}"
    url = f"postgresql://{credentials}@{hosts}{parts.path}"
    if text == "{folder}":
        (folders,) = pipeline.database.query("SHOW unix_socket_directories")[0]
        if folders:
            url = f"postgresql://{credentials}@{folders.replace('/', '%2F')}:{parts.port}{parts.path}"
    pipeline.set(LOGIN_DATABASE_URL=url)
    LoginDatabase(read_settings()).prepare()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("port", "nobody listens at its host and port"),
        ("password", "the server does not accept the user and the password"),
        ("database", "the server has no database of that name"),
        ("host", "its host name is not known here"),
        ("option", "libpq does not know the value of sslmode"),
        ("PGPORT", "libpq does not know the value of port"),
    ],
)
def test_what_libpq_says_is_a_sentence_that_quotes_nothing_of_the_url(pipeline: Pipeline, part: str, says: str) -> None:
    parts = urlsplit(pipeline.database.url)
    wrong = {
        "port": f"postgresql://{SECRET}:{SECRET}@{HOST}:{free_port()}/{SECRET}",
        "password": pipeline.database.url.replace(f":{parts.password}@", f":{SECRET}@"),
        "database": pipeline.database.url.replace(parts.path, f"/{SECRET}"),
        "host": f"postgresql://loader:p@{SECRET}.invalid/logins",
        "option": f"{pipeline.database.url}?sslmode={SECRET}",
        "PGPORT": "postgresql://loader:p@db/logins",
    }
    pipeline.set(PGPORT=SECRET if part == "PGPORT" else None)
    pipeline.set(LOGIN_DATABASE_URL=wrong[part])
    with pytest.raises(ConfigurationError) as error:
        LoginDatabase(read_settings()).prepare()
    assert error.value.sentence.startswith(f"The database in LOGIN_DATABASE_URL cannot be used: {says}")
    assert SECRET not in error.value.sentence


@pytest.mark.parametrize(
    ("text", "says", "retryable"),
    [
        ("SASL authentication failed", "the server does not accept the user and the password", False),
        ("no such user", "PgBouncer knows no such user", False),
        ("unsupported startup parameter: options", "PgBouncer passes no options on", False),
        ("no more connections allowed (max_client_conn)", "PgBouncer has as many connections as it may", True),
        ("server login has been failing, try again later (server_login_retry)", "PgBouncer does not get in", True),
    ],
)
def test_what_pgbouncer_says_has_a_sentence(text: str, says: str, retryable: bool) -> None:
    error = not_connected(f"FATAL:  {text}\n", Access("database_url", maintenance=False))
    assert error.sentence.startswith(f"The database in LOGIN_DATABASE_URL cannot be used: {says}")
    assert error.retryable is retryable


def test_text_whose_shape_is_not_known_is_not_passed_on() -> None:
    error = not_connected(f"FATAL:  something new about {SECRET}", Access("database_url", maintenance=False))
    assert SECRET not in error.sentence
    assert "a reason that is not among those that can be repeated" in error.sentence


@contextmanager
def server_that_refuses(says: bytes) -> Iterator[int]:
    """The port of one that answers each connection with this ErrorResponse; no server at hand speaks another encoding.

    Source: PostgreSQL documentation, "Message Formats".
    """

    def serve() -> None:
        client = server.accept()[0]
        with client:
            client.recv(8)  # SSLRequest
            client.sendall(b"N")
            client.recv(4096)
            fields = b"SFATAL\0C28P01\0M" + says + b"\0\0"
            client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_server_that_speaks_latin_1_is_one_sentence(pipeline: Pipeline) -> None:
    with server_that_refuses("authentification par mot de passe échouée".encode("latin-1")) as port:
        pipeline.set(LOGIN_DATABASE_URL=f"postgresql://loader:p@{HOST}:{port}/logins")
        with pytest.raises(ConfigurationError, match="a reason that is not among those that can be repeated"):
            LoginDatabase(read_settings()).prepare()


@pytest.mark.parametrize(
    "url", [f"postgresql+psycopg2://dagster:{SECRET}/dagster", f"postgresql://d:{SECRET}@/dagster"]
)
def test_dagster_s_own_url_is_refused_without_a_word_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("LOGIN_DAGSTER_DATABASE_URL", url)
    with pytest.raises(ConfigurationError, match="LOGIN_DAGSTER_DATABASE_URL") as error, dagster_instance():
        pass
    assert SECRET not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("form", ["host={0}:{1}&host={0}:{2}", "host={0},{0}&port={1},{2}"])
def test_dagster_s_own_url_may_list_hosts(pipeline: Pipeline, tmp_path: Path, form: str) -> None:
    """In both of SQLAlchemy's ways to write it."""
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    parts = urlsplit(pipeline.database.url)
    credentials, hosts = parts.netloc.rpartition("@")[0], form.format(HOST, free_port(), parts.port)
    pipeline.set(
        DAGSTER_HOME=str(tmp_path),
        LOGIN_MAX_CONCURRENT_RUNS=1,
        LOGIN_REDIS_URL="redis://127.0.0.1:1",
        LOGIN_DAGSTER_DATABASE_URL=f"postgresql+psycopg2://{credentials}@{parts.path}?{hosts}"
        "&target_session_attrs=read-write",
    )
    with dagster_instance() as instance:
        assert instance.get_runs_count() == 0
