"""Everything that Dagster loads. Wiring only."""

import dagster as dg

from login_pipeline.defs import assets, checks, health, jobs, sensors
from login_pipeline.defs import backup as backup_asset
from login_pipeline.defs.io_manager import RunScopedIOManager
from login_pipeline.defs.resources import LoginDatabaseResource, LoginQueueResource, MaskingResource
from login_pipeline.logs.redaction import redact_errors
from login_pipeline.logs.setup import set_up_logging

redact_errors()
set_up_logging()

defs = dg.Definitions(
    assets=[
        assets.login_queue,
        assets.raw_sqs_messages,
        assets.masked_logins,
        assets.quarantined_logins,
        assets.user_logins_table,
        backup_asset.user_logins_backup,
    ],
    asset_checks=[checks.masked_logins_checks, checks.user_logins_table_checks],
    jobs=[
        jobs.login_job,
        jobs.user_logins_checks_job,
        jobs.inbox_pruning_job,
        jobs.user_logins_expiry_job,
        jobs.run_history_job,
        backup_asset.user_logins_backup_job,
    ],
    schedules=[
        jobs.user_logins_checks_schedule,
        jobs.inbox_pruning_schedule,
        jobs.user_logins_expiry_schedule,
        jobs.run_history_schedule,
        backup_asset.user_logins_backup_schedule,
    ],
    sensors=[sensors.queue_depth_sensor, health.health_sensor],
    executor=dg.in_process_executor,
    resources={
        "sqs": LoginQueueResource(),
        "postgres": LoginDatabaseResource(),
        "maintenance_postgres": LoginDatabaseResource(maintenance=True),
        "masking": MaskingResource(),
        "io_manager": RunScopedIOManager(),
    },
)
