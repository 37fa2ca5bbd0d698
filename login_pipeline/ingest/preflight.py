"""Whether everything that a run needs is there, asked before anything is received."""

from login_pipeline.masking.masker import Masker
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.retries import retried
from login_pipeline.sqs.errors import endpoint_in_clear
from login_pipeline.sqs.login_queues import LoginQueues

# How long a run waits for a database that is starting, or whose primary another server becomes: a minute, and the pause
# in which that passes.
PRIMARY_SECONDS = 65.0


def check_surroundings(queues: LoginQueues, database: LoginDatabase, masker: Masker, *, waits: bool = False) -> None:
    """Returns when a run can start; creates the tables where they do not exist. `doctor` asks the same.

    With `waits`, as in a run, it waits for a database that is away. A person gets the sentence at once.

    Raises:
        ConfigurationError: a setting is missing or wrong, or what it names cannot be used.
        QueueError: SQS does not respond.
        DatabaseError: PostgreSQL refused.
    """
    masker.masks()
    retried(lambda: _check_tables(database), seconds=PRIMARY_SECONDS if waits else 0)
    queues.check()


def ways_in_clear(queues: LoginQueues, database: LoginDatabase) -> list[str]:
    """For a run: a sentence for each connection on which rows or messages leave this machine unencrypted."""
    protection = retried(database.protection, seconds=PRIMARY_SECONDS)
    rows = f"Rows go in clear over the network to the database; add sslmode=verify-full to {database.access.variable}"
    return [each for each in (endpoint_in_clear(queues.endpoint), None if protection.enough else rows) if each]


def _check_tables(database: LoginDatabase) -> None:
    if database.check():
        database.prepare()
    if database.ask(statements.inbox.is_empty) == (True,):  # so that a run needs no second connection but the first one
        database.check_exclusion()
