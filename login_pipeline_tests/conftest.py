"""Real services for every test: a queue and a database of its own on servers that are started once.

LOGIN_TEST_SQS_ENDPOINT and LOGIN_TEST_DATABASE_URL (of a superuser) name other servers to test against. With
LOGIN_TEST_PGBOUNCER the database is reached through PgBouncer, but by tests that are marked `direct_database`.
"""

import gc
import os
import secrets
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import boto3
import dagster as dg
import psycopg2
import pytest
from psycopg2 import sql

from login_pipeline.cli.main import main
from login_pipeline.cli.runs import Run, run
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline.local.sqs import LocalSqs
from login_pipeline.signals import raise_at_signals
from login_pipeline_tests import ROOT
from login_pipeline_tests.bodies import valid
from login_pipeline_tests.pgbouncer import PgBouncer
from login_pipeline_tests.sqs_server.process import QueueServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

REGION = "us-east-1"
MASKING_KEY = secrets.token_hex(32)


def pytest_sessionstart() -> None:
    """A shell ignores SIGINT for `make test &` in a script, and each process that a test starts would inherit it."""
    raise_at_signals()


def pytest_collection_finish() -> None:
    """What is imported stays: the collection at a run's end need not look through it, which is half of a run's CPU."""
    gc.freeze()


class Servers(NamedTuple):
    """What the tests run against: SQS's endpoint, and the URL of a database on the PostgreSQL server, also without
    PgBouncer.
    """

    sqs_endpoint: str
    database_url: str
    direct_database_url: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    endpoint = os.environ.get("LOGIN_TEST_SQS_ENDPOINT")
    database_url = os.environ.get("LOGIN_TEST_DATABASE_URL")
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        if endpoint is None:
            sqs = LocalSqs(folder / "sqs")
            stack.callback(sqs.stop)
            endpoint = sqs.endpoint
        if database_url is None:
            postgres = LocalPostgres(folder / "postgresql")
            stack.callback(postgres.stop)
            database_url = postgres.url("postgres")
        direct_database_url = database_url
        if os.environ.get("LOGIN_TEST_PGBOUNCER"):
            pgbouncer = PgBouncer(folder / "pgbouncer", database_url)
            stack.callback(pgbouncer.stop)
            database_url = pgbouncer.url(database_url)
        yield Servers(endpoint, database_url, direct_database_url)


@pytest.fixture(scope="session")
def benchmark_server() -> Iterator[QueueServer]:
    with QueueServer() as server:
        yield server


@dataclass
class Queue:
    """A queue, seen with the plain SDK."""

    client: "SQSClient"
    url: str

    def send(self, *bodies: str, **attributes: Any) -> list[str]:
        """Returns the messages' ids."""
        return [
            self.client.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=attributes)["MessageId"]
            for body in bodies
        ]

    def count(self) -> int:
        return sum(self.depth())

    def depth(self) -> tuple[int, int]:
        """Messages that can be received, and those that cannot yet."""
        counts = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        delayed = int(counts["ApproximateNumberOfMessagesDelayed"])
        in_flight = int(counts["ApproximateNumberOfMessagesNotVisible"])
        return int(counts["ApproximateNumberOfMessages"]), in_flight + delayed

    def take_all(self) -> list[dict[str, Any]]:
        """Receives and deletes every message that can be received."""
        taken: list[dict[str, Any]] = []
        while messages := self.client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", []):
            for message in messages:
                self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                taken.append(dict(message))
        return taken


@dataclass
class Database:
    """A database, seen with the plain driver."""

    url: str

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Runs a statement in a transaction of its own; returns its rows, if it has any."""
        connection = psycopg2.connect(self.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def fill_disk(self) -> None:
        """From now on each login fails as on a full disk, and quotes the row; what a run tries before fits."""
        self.query(
            "CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '%', NEW USING ERRCODE = 'disk_full'; END $$; "
            "CREATE TRIGGER is_full BEFORE INSERT ON user_logins FOR EACH ROW WHEN (NEW.user_id NOT LIKE 'check %') "
            "EXECUTE FUNCTION is_full()"
        )

    def set_server_log(self, **settings: str) -> None:
        """What the server logs of the sessions that begin from now on."""
        name = urlsplit(self.url).path.lstrip("/")
        for setting, value in settings.items():
            self.query(f"ALTER DATABASE {name} SET {setting} = '{value}'")
        self.end_sessions()

    def end_sessions(self) -> None:
        """Those that a pooler keeps, too: the next ones begin with the settings that the database has by then."""
        parts = urlsplit(self.url)
        server = Database(urlunsplit(parts._replace(path="/postgres")))
        # Those that wait for a lock come first: otherwise they get it from a session that ends before them, and commit.
        for others in (False, True):
            server.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = %s AND (wait_event_type = 'Lock' OR %s)",
                parts.path[1:],
                others,
            )

    def logins(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT * FROM user_logins")


def client_of(endpoint: str) -> "SQSClient":
    return boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulators ask for none
    )


@pytest.fixture(scope="session")
def sqs_client(servers: Servers) -> "SQSClient":
    return client_of(servers.sqs_endpoint)


def _queue(client: "SQSClient") -> Queue:
    return Queue(client, client.create_queue(QueueName=f"test-{uuid.uuid4()}")["QueueUrl"])


@pytest.fixture
def queue(sqs_client: "SQSClient") -> Queue:
    return _queue(sqs_client)


@pytest.fixture
def benchmark_queue(benchmark_server: QueueServer) -> Queue:
    return _queue(client_of(benchmark_server.endpoint))


@pytest.fixture
def dead_letter_queue(sqs_client: "SQSClient") -> Queue:
    return _queue(sqs_client)


@pytest.fixture
def database(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.node.get_closest_marker("direct_database"):
        servers = servers._replace(database_url=servers.direct_database_url)
    with new_database(servers) as database:
        yield database


@contextmanager
def new_database(servers: Servers, template: str = "template1") -> Iterator[Database]:
    """A database of its own, a copy of `template`, until the context ends."""
    name = f"test_{uuid.uuid4().hex}"
    _database(servers, template).end_sessions()
    _on_server(servers, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield _database(servers, name)
    _on_server(servers, "DROP DATABASE {} WITH (FORCE)", name)


def _database(servers: Servers, name: str) -> Database:
    return Database(urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}")))


def _on_server(servers: Servers, statement: str, *names: str) -> None:
    connection = psycopg2.connect(servers.database_url)
    connection.autocommit = True
    connection.cursor().execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    connection.close()


@pytest.fixture(autouse=True)
def _no_settings_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name == "DAGSTER_REDACT_USER_CODE_ERRORS" or name.startswith("LOGIN_TEST_"):
            continue  # the one is set by our own definitions, the others are read when the first test needs a server
        if name.startswith(("LOGIN_", "AWS_", "DAGSTER_", "PG")):
            monkeypatch.delenv(name)


@dataclass
class Pipeline:
    """The pipeline as configured for one test: its environment, its services, and runs of its jobs."""

    queue: Queue
    dead_letter_queue: Queue
    database: Database
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str]
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def set(self, **settings: str | int | None) -> None:
        """Sets environment variables, or deletes them where the value is None."""
        for name, value in settings.items():
            if value is None:
                self.environment.pop(name, None)
                self.monkeypatch.delenv(name, raising=False)
            else:
                self.environment[name] = str(value)
                self.monkeypatch.setenv(name, str(value))

    def run(self, job: str = "login_job") -> Run:
        return run(job, self.instance)


@pytest.fixture
def pipeline(
    servers: Servers,
    queue: Queue,
    dead_letter_queue: Queue,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pipeline]:
    pipeline = Pipeline(queue, dead_letter_queue, database, monkeypatch, {})
    pipeline.set(
        AWS_ENDPOINT_URL_SQS=servers.sqs_endpoint,
        AWS_REGION=REGION,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - the emulators ask for none
        LOGIN_QUEUE_URL=queue.url,
        LOGIN_DEAD_LETTER_QUEUE_URL=dead_letter_queue.url,
        LOGIN_DATABASE_URL=database.url,
        LOGIN_MASKING_KEY=MASKING_KEY,
        LOGIN_RUN_INTERVAL=0,
    )
    # The embedded server knows at once that a queue is empty; sqs/test_login_queues.py holds the wait itself.
    monkeypatch.setattr("login_pipeline.sqs.queue.LONG_POLL_SECONDS", 0)
    # Most tests break the database for good; ingest/test_preflight.py holds the wait.
    monkeypatch.setattr("login_pipeline.ingest.preflight.PRIMARY_SECONDS", 0)
    with pipeline.instance:
        yield pipeline


@pytest.fixture
def dagsters(servers: Servers) -> Iterator[Database]:
    """A database for Dagster's own records."""
    with new_database(servers) as database:
        yield database


@pytest.fixture
def recorded(pipeline: Pipeline, dagsters: Database, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with its records in PostgreSQL, as in production; DAGSTER_HOME names it."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_bytes((ROOT / "deploy/dagster.yaml").read_bytes())
    storage = dagsters.url.replace("postgresql://", "postgresql+psycopg2://")
    pipeline.set(DAGSTER_HOME=str(home), LOGIN_DAGSTER_DATABASE_URL=storage, LOGIN_MAX_CONCURRENT_RUNS=1)
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture(scope="session")
def body() -> Callable[..., str]:
    """Makes the body of a valid login message; a field set to ... is left out."""
    return valid


@contextmanager
def ministack(services: str) -> Iterator[str]:
    """The endpoint of these services of AWS."""
    with temporary_folder() as folder:
        server = LocalSqs(folder / "aws", services=services)
        try:
            yield server.endpoint
        finally:
            server.stop()


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """Secrets Manager and Parameter Store."""
    with ministack("secretsmanager,ssm") as endpoint:
        yield endpoint


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a secret of this test, which is not made yet; the SDK calls `aws_endpoint`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return f"login-pipeline/{secrets.token_hex(4)}"


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs login-pipeline with these arguments in this process; its exit code, stdout and stderr."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["login-pipeline", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run_command
