"""Whether everything that a run needs is there, asked before anything is received."""

from login_pipeline.masking.masker import Masker
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.sqs.errors import endpoint_in_clear
from login_pipeline.sqs.login_queues import LoginQueues


def check_surroundings(queues: LoginQueues, database: LoginDatabase, masker: Masker) -> None:
    """Returns when a run can start; creates the tables where they do not exist. `doctor` asks the same.

    Raises:
        ConfigurationError: a setting is missing or wrong, or what it names cannot be used.
        QueueError: SQS does not respond.
        DatabaseError: PostgreSQL refused.
    """
    masker.masks()
    if database.check():
        database.prepare()
    queues.check()


def ways_in_clear(queues: LoginQueues, database: LoginDatabase) -> list[str]:
    """A sentence for each connection on which rows or messages leave this machine unencrypted."""
    protection = database.protection()
    rows = f"Rows go in clear over the network to the database; add sslmode=verify-full to {database.access.variable}"
    return [each for each in (endpoint_in_clear(queues.endpoint), None if protection.enough else rows) if each]
