"""The resources: what a run uses of SQS, PostgreSQL and the masking keys, as Dagster configures and ends it.

Each makes the object that does the work when it is first asked for. Settings are read then, so that a wrong one fails
the step that needs it, with its sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import dagster as dg
from dagster_aws.utils import ResourceWithBoto3Configuration
from pydantic import Field

from login_pipeline.defs.run_log import run_log
from login_pipeline.masking.masker import Masker
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport.client import ClientOptions


class LoginQueueResource(ResourceWithBoto3Configuration):
    """The login queue and its dead-letter queue, which settings name.

    Messages that are not deleted when the run ends, however it ends, go back to the queue.
    """

    @cached_property
    def queues(self) -> LoginQueues:
        """The queues of this run; raises ConfigurationError where a setting is wrong."""
        return LoginQueues(read_settings(), self.client_options)

    @property
    def client_options(self) -> ClientOptions:
        """How the SDK's client is made."""
        return ClientOptions(**self.model_dump(include={*ClientOptions._fields}))

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LoginQueueResource"]:
        """One run's use of the queues."""
        try:
            yield self
        finally:
            if "queues" in vars(self):
                _release(self.queues, context)


class LoginDatabaseResource(dg.ConfigurableResource[object]):
    """The database that settings name; as the maintenance role, what a run may not do."""

    maintenance: bool = Field(
        default=False, description="Connect as the role in LOGIN_MAINTENANCE_DATABASE_URL, where that is set."
    )

    @cached_property
    def database(self) -> LoginDatabase:
        """The database, on one connection for the run; raises ConfigurationError where a setting is wrong."""
        return LoginDatabase(read_settings(), maintenance=self.maintenance, keep_connection=True)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["LoginDatabaseResource"]:
        """One run's use of the database."""
        try:
            yield self
        finally:
            if "database" in vars(self):
                self.database.close()


class MaskingResource(dg.ConfigurableResource[object]):
    """The masks for ip and device_id. The key is never in run config, where the UI would show it."""

    @cached_property
    def masker(self) -> Masker:
        """The masks of this run; raises ConfigurationError where a setting is wrong."""
        return Masker(read_settings())


def _release(queues: LoginQueues, context: dg.InitResourceContext) -> None:
    messages, not_taken = queues.release()
    if messages:
        run_log(context).warning("released", messages=messages, not_taken=not_taken)
        if context.log is not None:
            later = f"; not taken: {not_taken}, they come back by the visibility timeout" if not_taken else ""
            context.log.warning(f"{messages} messages that this run did not finish went back to the queue{later}")
    if queues.left_to_boto3:
        run_log(context).warning("left_to_boto3", calls=queues.left_to_boto3)
