"""Everything that Dagster loads. Wiring only."""

import dagster as dg

from login_pipeline.defs import assets, checks, jobs, sensors
from login_pipeline.defs import backup as backup_asset
from login_pipeline.defs.io_manager import RunMemory
from login_pipeline.logs import setup as logs
from login_pipeline.logs.redaction import redact_errors
from login_pipeline.masking.masker import MaskingResource
from login_pipeline.postgres.database import LoginDatabaseResource
from login_pipeline.sqs.login_queues import LoginQueueResource

redact_errors()
logs.set_up()

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
        jobs.run_history_job,
        backup_asset.user_logins_backup_job,
    ],
    schedules=[
        jobs.user_logins_checks_schedule,
        jobs.inbox_pruning_schedule,
        jobs.run_history_schedule,
        backup_asset.user_logins_backup_schedule,
    ],
    sensors=[sensors.queue_depth_sensor],
    executor=dg.in_process_executor,
    resources={
        "queue": LoginQueueResource(),
        "database": LoginDatabaseResource(),
        "maintenance_database": LoginDatabaseResource(maintenance=True),
        "masking": MaskingResource(),
        "io_manager": RunMemory(),
    },
)
