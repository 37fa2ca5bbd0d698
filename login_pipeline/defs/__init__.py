"""What Dagster shows: the assets in the order of the data, their checks, jobs and sensors."""

from collections.abc import Sequence

import dagster as dg

from login_pipeline.defs import assets, backup
from login_pipeline.defs.backup import backup_job, user_logins_backup_schedule
from login_pipeline.defs.checks import masked_logins_checks, user_logins_table_checks
from login_pipeline.defs.health import health_sensor
from login_pipeline.defs.io_manager import RunScopedIOManager
from login_pipeline.defs.jobs import (
    inbox_pruning_schedule,
    login_jobs,
    run_history_schedule,
    user_logins_checks_schedule,
    user_logins_expiry_schedule,
)
from login_pipeline.defs.resources import LoginDatabaseResource, LoginQueueResource, MaskingResource
from login_pipeline.defs.sensors import queue_depth_sensor


def login_definitions(*, asset_prefix: str | Sequence[str] = ()) -> dg.Definitions:
    """The whole pipeline, for Definitions.merge with other code: that keeps its executor, loggers and I/O manager.

    Args:
        asset_prefix: Comes before each asset key, as in Dagster's `key_prefix`. The keys of resources begin with
            `login_`: Dagster binds a resource to a parameter by its name, which nothing renames.
    """
    prefix = [asset_prefix] if isinstance(asset_prefix, str) else list(asset_prefix)
    definitions = dg.Definitions(
        assets=[
            assets.login_queue.replace_attributes(key=assets.login_queue.key.with_prefix(prefix)),
            *dg.load_assets_from_modules([assets, backup], key_prefix=prefix or None),
        ],
        asset_checks=[masked_logins_checks(prefix), user_logins_table_checks(prefix)],
        schedules=[
            user_logins_checks_schedule(prefix),
            inbox_pruning_schedule,
            user_logins_expiry_schedule,
            run_history_schedule,
            user_logins_backup_schedule,
        ],
        sensors=[queue_depth_sensor(prefix), health_sensor(prefix)],
        resources={
            "login_sqs": LoginQueueResource(),
            "login_postgres": LoginDatabaseResource(),
            "login_maintenance_postgres": LoginDatabaseResource(maintenance=True),
            "login_masking": MaskingResource(),
            assets.IO_MANAGER: RunScopedIOManager(),
        },
    )
    return dg.Definitions.merge(definitions, login_jobs(prefix), backup_job(prefix))
