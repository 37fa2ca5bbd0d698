"""Where the contenders run: a queue with messages, an empty database, and the environment that names both."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.databases import Databases
from benchmarks.environment import environment_of
from benchmarks.queues import Backlog, Queues
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings

MASKING_KEY = secrets.token_hex(32)
_NOT_FOR_US = ("DAGSTER_", "LOGIN_MAINTENANCE_", "LOGIN_MASKING_KEY", "LOGIN_LOG_FORMAT", "LOGIN_BACKUP_URL")


class Place(NamedTuple):
    """One run's backlog, database and environment."""

    backlog: Backlog
    database_url: str
    environment: dict[str, str]


class Surroundings(NamedTuple):
    """The servers of a benchmark."""

    queues: Queues
    databases: Databases

    @contextmanager
    def place(
        self, messages: int, latency_ms: int | None, settings: Mapping[str, str] | None = None
    ) -> Iterator[Place]:
        """A backlog, and a database with the tables and no rows; forgotten at the end."""
        with self.queues.backlog(messages, latency_ms) as backlog, self.databases.fresh() as database_url:
            environment = {
                **shell_settings(),
                **backlog.environment,
                "LOGIN_DATABASE_URL": database_url,
                "LOGIN_MASKING_KEY": MASKING_KEY,
                **(settings or {}),
            }
            with environment_of(environment):
                LoginDatabase(read_settings()).prepare()
            yield Place(backlog, database_url, environment)


def shell_settings() -> dict[str, str]:
    """What the shell sets, LOGIN_BATCH_SIZE and the like too, but not what would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_US)}
