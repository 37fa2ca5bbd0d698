"""Starts the servers of a benchmark, or uses those that are given; nothing of either is left at the end."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.databases import Databases, GivenDatabases, OwnDatabases
from benchmarks.given_queues import GivenQueues
from benchmarks.queues import OwnQueues
from benchmarks.surroundings import Surroundings
from login_pipeline.local.services import leave_accounts_behind, temporary_folder


@contextmanager
def servers(endpoint_url: str | None = None, database_url: str | None = None) -> Iterator[Surroundings]:
    """Those that are given, and of our own what is not.

    Raises:
        ConfigurationError: one that is given cannot be used.
    """
    if endpoint_url is None:
        leave_accounts_behind()
    with ExitStack() as stack:
        queues = GivenQueues(endpoint_url) if endpoint_url is not None else OwnQueues()
        folder = stack.enter_context(temporary_folder())
        yield Surroundings(queues, GivenDatabases(database_url) if database_url else _own(stack, folder))


def _own(stack: ExitStack, folder: Path) -> Databases:
    databases = OwnDatabases(folder / "postgresql")
    stack.callback(databases.server.stop)
    return databases
