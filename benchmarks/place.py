"""Where a contender runs: a queue with messages, an empty database, and the environment that names both."""

import os
import secrets
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

import boto3
import psutil
import psycopg2
from psycopg2 import sql

from benchmarks.processes import family_cpu_seconds
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import leave_accounts_behind, temporary_folder
from login_pipeline.local.sqs import REGION, sdk_environment
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.sqs_server.process import QueueServer

# Of every backlog, so that every run quarantines, too.
MALFORMED_MESSAGES = 10
MALFORMED = '{"foo": "oops_wrong_msg_type", "bar": "123"}'
MASKING_KEY = secrets.token_hex(32)
_NOT_FOR_US = ("DAGSTER_", "LOGIN_MAINTENANCE_", "LOGIN_MASKING_KEY", "LOGIN_LOG_FORMAT", "LOGIN_BACKUP_URL")


class Place(NamedTuple):
    """One run's queues, filled with so many logins of as many users, its database, and its environment."""

    server: QueueServer
    logins: int
    database_url: str
    environment: dict[str, str]

    def left(self) -> tuple[int, int]:
        """Messages on the queue, whether they can be received or not, and on its dead-letter queue."""
        queues = self.server.counts().queues
        urls = self.server.queue_url, self.server.dead_letter_queue_url
        counts = [queues[url.rpartition("/")[2]] for url in urls]
        here, rejects = (each["visible"] + each["in_flight"] for each in counts)
        return here, rejects


class Servers:
    """The PostgreSQL of a benchmark; each run has an SQS server of its own."""

    def __init__(self, postgres: LocalPostgres, process: psutil.Process) -> None:
        self._postgres = postgres
        self._process = process

    def database_cpu_seconds(self) -> float:
        """Of the server and its backends."""
        return family_cpu_seconds(self._process)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped at the end."""
        name = f"bench_{uuid.uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", name)
        try:
            yield self._postgres.url(name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    @contextmanager
    def place(self, messages: int, latency_ms: int, settings: Mapping[str, str]) -> Iterator[Place]:
        """A backlog whose last messages are malformed, and a database with the tables and no rows."""
        logins = messages - MALFORMED_MESSAGES
        with (
            QueueServer(latency=latency_ms / 1000, fill=logins) as server,
            self.fresh_database() as database_url,
        ):
            environment = {
                **shell_settings(),
                **sdk_environment(server.endpoint),
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "LOGIN_QUEUE_URL": server.queue_url,
                "LOGIN_DEAD_LETTER_QUEUE_URL": server.dead_letter_queue_url,
                "LOGIN_DATABASE_URL": database_url,
                "LOGIN_MASKING_KEY": MASKING_KEY,
                **settings,
            }
            with environment_of(environment):
                entries = [{"Id": str(number), "MessageBody": MALFORMED} for number in range(MALFORMED_MESSAGES)]
                boto3.client("sqs").send_message_batch(QueueUrl=server.queue_url, Entries=entries)  # type: ignore[arg-type]
                LoginDatabase(read_settings()).prepare()
            yield Place(server, logins, database_url, environment)

    def _execute(self, statement: str, name: str) -> None:
        with closing(psycopg2.connect(self._postgres.url("postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute(sql.SQL(statement).format(sql.Identifier(name)))


@contextmanager
def servers() -> Iterator[Servers]:
    """Starts a PostgreSQL; nothing of it is left at the end."""
    leave_accounts_behind()
    with temporary_folder() as folder:
        postgres = LocalPostgres(folder / "postgresql")
        try:
            pid = int((folder / "postgresql" / "data" / "postmaster.pid").read_text().split()[0])
            yield Servers(postgres, psutil.Process(pid))
        finally:
            postgres.stop()


def shell_settings() -> dict[str, str]:
    """What the shell sets, LOGIN_BATCH_SIZE and the like, but not what would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_US)}


@contextmanager
def environment_of(environment: Mapping[str, str]) -> Iterator[None]:
    """Replaces this process's environment in the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
