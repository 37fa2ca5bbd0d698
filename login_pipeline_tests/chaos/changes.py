"""What a run's process can do other than the product does: to save time, or to show that the account can tell."""

from collections.abc import Iterable
from threading import Event
from unittest.mock import patch

from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import Settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import SqsQueue
from login_pipeline.sqs.receive import Batch
from login_pipeline.sqs.transport.client import ClientOptions, Request, Sdk
from login_pipeline_tests.exactly_once.mutants import MUTANTS


def come_back_soon() -> None:
    """Messages of a killed run come back after 6 seconds, not after the 30 that the settings ask for at least.

    A run that takes longer than that works on all the same: SQS may deliver twice at any time.
    """
    _hide_for(6)


def hide_for_a_moment() -> None:
    """Messages that are received come back after two seconds."""
    _hide_for(2)


def release_soon() -> None:
    """Messages that a run releases come back after a second, not after ten."""
    patch("login_pipeline.sqs.release_delay.RELEASE_DELAY", 1).start()


def retry_at_once() -> None:
    """The SDK's retries are real; only the seconds between them are not waited for."""
    patch("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01).start()


def hang_up_soon() -> None:
    """A call to SQS that is not answered is given up after a second."""
    init = Sdk.__init__

    def init_with_less_time(sdk: Sdk, settings: Settings, options: ClientOptions) -> None:
        init(sdk, settings, options._replace(read_timeout=1))

    patch.object(Sdk, "__init__", init_with_less_time).start()


def do_not_wait_for_locks() -> None:
    """A table that is locked before a run is waited for for half a second."""
    for module in ("database", "tables"):
        patch(f"login_pipeline.postgres.{module}.LOCK_SECONDS", 0.5).start()


def do_not_wait_for_the_primary() -> None:
    """A database that takes no rows before a run is not waited for, and during one for two seconds or so."""
    patch("login_pipeline.ingest.preflight.PRIMARY_SECONDS", 0).start()
    patch("login_pipeline.sqs.login_queues.LOAD_DEADLINE_FRACTION", 0.1).start()


def delete_before_commit() -> None:
    """Messages are deleted from the queue, and only then loaded."""
    _be("deletes before the commit")


def load_without_inbox() -> None:
    """Every delivery gets a row, and the first run does not try whether two loads exclude each other: it would tell."""
    _be("has no inbox")
    patch.object(LoginDatabase, "check_exclusion", lambda _database: True).start()


def delete_nothing() -> None:
    """Every message is delivered again and again."""

    def pretend(_queue: SqsQueue, _handles: Iterable[str], _stop: Event | None = None) -> dict[str, int]:
        return {}

    patch.object(SqsQueue, "delete", pretend).start()


def print_bodies() -> None:
    """Personal data in the output of a run."""
    receive = LoginQueues.receive

    def receive_and_print(queues: LoginQueues) -> Batch:
        batch = receive(queues)
        print(*(message.body for message in batch.messages))  # noqa: T201 - the fault itself
        return batch

    patch.object(LoginQueues, "receive", receive_and_print).start()


def _hide_for(seconds: int) -> None:
    poll = SqsQueue._poll

    def poll_and_hide(queue: SqsQueue, messages: int) -> Request:
        return {**poll(queue, messages), "VisibilityTimeout": seconds}

    patch.object(SqsQueue, "_poll", poll_and_hide).start()


def _be(mutant: str) -> None:
    patch(MUTANTS[mutant].target, MUTANTS[mutant].replacement).start()
