"""Whether everything that a run needs is there, asked before anything is received."""

from login_pipeline.resources.masking import MaskingResource
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline.resources.sqs import LoginQueueResource


def check_surroundings(queue: LoginQueueResource, database: LoginDatabaseResource, masking: MaskingResource) -> None:
    """Returns when a run can start; creates the tables where they do not exist.

    Raises:
        ConfigurationError: a setting is missing or wrong, or what it names cannot be used.
        QueueError: SQS does not answer.
        DatabaseError: PostgreSQL refused.
    """
    masking.masks()
    database.prepare()
    queue.check()
