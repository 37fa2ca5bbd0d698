"""Whether everything that a run needs is there, asked before anything is received."""

from login_pipeline.masking.masker import MaskingResource
from login_pipeline.postgres.database import LoginDatabaseResource
from login_pipeline.sqs.errors import endpoint_in_clear
from login_pipeline.sqs.login_queues import LoginQueueResource


def check_surroundings(queue: LoginQueueResource, database: LoginDatabaseResource, masking: MaskingResource) -> None:
    """Returns when a run can start; creates the tables where they do not exist. `doctor` asks the same.

    Raises:
        ConfigurationError: a setting is missing or wrong, or what it names cannot be used.
        QueueError: SQS does not answer.
        DatabaseError: PostgreSQL refused.
    """
    masking.masks()
    if database.check():
        database.prepare()
    queue.check()


def ways_in_clear(queue: LoginQueueResource, database: LoginDatabaseResource) -> list[str]:
    """A sentence for each connection on which rows or messages leave this machine unencrypted."""
    protection = database.protection()
    rows = f"Rows go in clear over the network to the database; add sslmode=verify-full to {database.access.variable}"
    return [each for each in (endpoint_in_clear(queue.endpoint), None if protection.enough else rows) if each]
