"""Starts the servers of a benchmark, or uses those that are given; nothing of either is left at the end."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.databases import OwnDatabases
from benchmarks.queues import GivenQueues
from benchmarks.surroundings import Surroundings
from login_pipeline.local.services import leave_accounts_behind, temporary_folder
from login_pipeline.local.sqs import LocalSqs


@contextmanager
def own_servers() -> Iterator[Surroundings]:
    """Those that are started here."""
    leave_accounts_behind()
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        sqs = LocalSqs(folder / "sqs")
        stack.callback(sqs.stop)
        databases = OwnDatabases(folder / "postgresql")
        stack.callback(databases.server.stop)
        yield Surroundings(GivenQueues(sqs.endpoint), databases)
