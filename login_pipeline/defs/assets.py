"""The assets, in the order in which the data flows: from the queue to the table.

One run drains one bounded batch, in one process. Nothing is handed over on disk (defs/io_manager.py), and what a
run cannot finish goes back to the queue when it ends (sqs/login_queues.py).
"""

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd

from login_pipeline.defs.failures import as_failure
from login_pipeline.defs.resources import LoginDatabaseResource, LoginQueueResource, MaskingResource
from login_pipeline.defs.run_log import run_log
from login_pipeline.errors import QueueError, RunError
from login_pipeline.ingest.load import BatchLoader, LoadFigures
from login_pipeline.ingest.preflight import check_surroundings, ways_in_clear
from login_pipeline.ingest.quarantine import QuarantineFigures, quarantine
from login_pipeline.logins.columns import USER_LOGINS, declared_type
from login_pipeline.logins.transform import mask_logins, raw_messages, rejected_messages
from login_pipeline.masking.masker import NOT_KEYED
from login_pipeline.settings import MaskingMethod
from login_pipeline.sqs.login_queues import few_deliveries

GROUP = "logins"
OWNERS = ["team:data-platform"]

# The resource that hands values over. It has a key of its own: `io_manager` is for the assets of other code.
IO_MANAGER = "login_io_manager"

# Where no login arrives, the sensor starts a run this often (IDLE_INTERVAL in decision.py): so a table that is not
# materialized for twice as long is late for a reason. Nothing else starts runs on an idle queue.
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2))

# In the metadata of user_logins_table: LoadFigures.commits.
COMMITS = "commits"
# In the metadata of raw_sqs_messages: how old its oldest message was.
OLDEST_AGE = "oldest_message_age_seconds"
# In the metadata of masked_logins: the day of the key, where it is known.
KEY_MADE_ON = "masking_key_made_on"

MESSAGE_ID = dg.TableColumn("message_id", "string", "The idempotency key: SNS's MessageId, or SQS's first one.")
RECEIPT_HANDLE = dg.TableColumn("receipt_handle", "string", "What deletes the message, for this delivery only.")


def table_schema(*more: dg.TableColumn) -> dg.TableSchema:
    """The destination's columns, followed by further ones that a DataFrame carries."""
    own = [dg.TableColumn(each.name, type=declared_type(each), description=each.description) for each in USER_LOGINS]
    return dg.TableSchema(columns=[*own, *more])


login_queue = dg.AssetSpec(
    "login_queue",
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sqs"},
    description="The SQS queue that login messages wait on. queue_depth_sensor reports its depth over time.",
)


@dg.asset(
    deps=[login_queue],
    io_manager_key=IO_MANAGER,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sqs", "pandas"},
    metadata={
        "dagster/column_schema": dg.TableSchema(
            [
                MESSAGE_ID,
                dg.TableColumn("sqs_message_id", "string", "The SQS MessageId of this sending."),
                RECEIPT_HANDLE,
                dg.TableColumn("sent_timestamp", "int64", "When it was first sent, in ms since the epoch."),
                dg.TableColumn("receive_count", "int64", "How often SQS has delivered it."),
                dg.TableColumn("body", "string", "The message as it was received: personal data in clear."),
                dg.TableColumn("content", "string", "The body out of its envelopes: personal data in clear."),
            ]
        )
    },
)
@as_failure()
def raw_sqs_messages(
    context: dg.AssetExecutionContext,
    login_sqs: LoginQueueResource,
    login_postgres: LoginDatabaseResource,
    login_masking: MaskingResource,
) -> dg.MaterializeResult[pd.DataFrame]:
    """One batch of messages, received from the queue and still on it, invisible to other runs until deleted.

    One row a message, in memory only, gone when the run ends. Before anything is received, both queues, the
    database, the table's columns and the masking key are checked.
    """
    _refuse_a_part_of_the_job(context)
    queues, database, masker = login_sqs.queues, login_postgres.database, login_masking.masker
    check_surroundings(queues, database, masker, waits=True)
    if warning := few_deliveries(queues.login_queue.max_receive_count):
        context.log.warning(warning)
    if warning := queues.small_dead_letter_queue():
        context.log.warning(warning)
    for in_clear in ways_in_clear(queues, database):
        context.log.warning(in_clear)
    if masker.method is MaskingMethod.SHA256:
        context.log.warning(NOT_KEYED)
    started = time.monotonic()
    batch = queues.receive()
    raw = raw_messages(batch.messages)
    run_log(context).info("received", received=len(raw), queue_ran_dry=batch.ran_dry)
    return dg.MaterializeResult(
        value=raw,
        metadata={
            "dagster/row_count": len(raw),
            "delivered_before": int((raw["receive_count"] > 1).sum()),
            OLDEST_AGE: _age(raw),
            "queue_ran_dry": batch.ran_dry,
            "seconds": _seconds_since(started),
        },
    )


@dg.asset(
    io_manager_key=IO_MANAGER,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas"},
    metadata={"dagster/column_schema": table_schema(MESSAGE_ID, RECEIPT_HANDLE)},
)
@as_failure()
def masked_logins(raw_sqs_messages: pd.DataFrame, login_masking: MaskingResource) -> dg.MaterializeResult[pd.DataFrame]:
    """The valid logins of the batch with ip and device_id masked and app_version as an integer.

    One row a valid message, in the table's columns and types. Equal values have equal masks. Metadata has counts and
    no mask: neither `forget` nor `keys rotate` reaches what Dagster stores.
    """
    started = time.monotonic()
    logins, with_unknown_keys = mask_logins(raw_sqs_messages, login_masking.masker.masks())
    return dg.MaterializeResult(
        value=logins,
        metadata={
            "dagster/row_count": len(logins),
            "messages_with_unknown_keys": with_unknown_keys,
            "masking_method": str(login_masking.masker.method),
            **({KEY_MADE_ON: made_on.isoformat()} if (made_on := login_masking.masker.key_made_on) else {}),
            "distinct_ips": logins["masked_ip"].nunique(),
            "distinct_devices": logins["masked_device_id"].nunique(),
            "distinct_app_versions": logins["app_version"].nunique(),
            "null_locales": int(logins["locale"].isna().sum()),
            "seconds": _seconds_since(started),
        },
    )


@dg.asset(
    io_manager_key=IO_MANAGER,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sqs", "pandas"},
    metadata={
        "dagster/column_schema": dg.TableSchema(
            [MESSAGE_ID, dg.TableColumn("reason", "string", "Why it is not a login: a code, never a value.")]
        )
    },
)
def quarantined_logins(
    context: dg.AssetExecutionContext,
    raw_sqs_messages: pd.DataFrame,
    masked_logins: pd.DataFrame,
    login_postgres: LoginDatabaseResource,
    login_sqs: LoginQueueResource,
) -> dg.MaterializeResult[pd.DataFrame]:
    """The messages of the batch that are not logins, moved to the dead-letter queue with their reason.

    One row a message, with its id and a reason code; the body is on the dead-letter queue and nowhere else.
    When they cannot be moved they stay on the queue; the valid logins are loaded all the same.
    """
    started = time.monotonic()
    figures = QuarantineFigures()
    with as_failure(lambda: _moved(figures)):
        rejected = rejected_messages(raw_sqs_messages, masked_logins)
        quarantine(rejected, login_sqs.queues, login_postgres.database, run_log(context), figures)
    return dg.MaterializeResult(
        value=rejected[["message_id", "reason"]], metadata={**_moved(figures), "seconds": _seconds_since(started)}
    )


@dg.asset(
    io_manager_key=IO_MANAGER,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "table"},
    metadata={"dagster/column_schema": table_schema(), "dagster/table_name": "user_logins"},
    freshness_policy=FRESHNESS,
)
def user_logins_table(
    context: dg.AssetExecutionContext,
    raw_sqs_messages: pd.DataFrame,
    masked_logins: pd.DataFrame,
    login_postgres: LoginDatabaseResource,
    login_sqs: LoginQueueResource,
) -> dg.MaterializeResult[None]:
    """Table user_logins in PostgreSQL: one row for each login, however often SQS delivers its message.

    Rows and the ids of their messages are committed in one transaction; only then are the messages deleted
    from the queue. A crash in between costs a redelivery, which the inbox turns into a delete. A row that only
    the database refuses, by a constraint say, goes to the dead-letter queue.
    """
    started = time.monotonic()
    figures = LoadFigures()
    with as_failure(lambda: _loaded(figures)):
        loader = BatchLoader(login_postgres.database, login_sqs.queues, run_log(context), figures)
        loader.load(masked_logins, raw_sqs_messages)
        if figures.not_deleted:
            codes = dict(figures.not_deleted)
            context.log.warning(f"Loaded, but not deleted from the queue, by code: {codes}; the inbox knows them")
        if figures.not_deleted and not figures.deleted:
            raise QueueError(
                f"SQS deleted none of {len(masked_logins)} loaded messages ({', '.join(figures.not_deleted)}); where "
                "they are delivered again they get no second row; check LOGIN_QUEUE_URL, the permission "
                "sqs:DeleteMessage and the network"
            )
    return dg.MaterializeResult(metadata={**_loaded(figures), "seconds": _seconds_since(started)})


# In the order of the data.
LOGIN_JOB_ASSETS = (raw_sqs_messages, masked_logins, quarantined_logins, user_logins_table)
# The executors that run all steps of a run in one process; the second one is that of execute_in_process.
ONE_PROCESS = (dg.in_process_executor.name, "execute_in_process_executor")


def _refuse_a_part_of_the_job(context: dg.AssetExecutionContext) -> None:
    """Receiving messages that nothing loads would only count towards the queue's maxReceiveCount."""
    prefix = context.asset_key.path[:-1]
    together = {dg.AssetKey([*prefix, *each.key.path]) for each in LOGIN_JOB_ASSETS}
    if missing := together - set(context.job_def.asset_layer.executable_asset_keys):
        raise RunError(
            f"Nothing was received, because {', '.join(sorted(key.to_user_string() for key in missing))} would not run "
            "after it; launch login_job, or materialize all the assets together"
        )
    if context.job_def.executor_def.name not in ONE_PROCESS:
        raise RunError(
            f"Nothing was received, because the executor {context.job_def.executor_def.name} may run each step in a "
            "process of its own, and messages are handed over in memory; launch login_job, which brings its executor"
        )


def _moved(figures: QuarantineFigures) -> dict[str, Any]:
    return {"dagster/row_count": figures.messages, "reasons": dict(figures.reasons), "deleted": figures.deleted}


def _loaded(figures: LoadFigures) -> dict[str, Any]:
    return {
        "loaded": figures.loaded,
        "duplicates": figures.duplicates,
        "erased": figures.erased,
        "quarantined": figures.moved.messages,
        "deleted": figures.deleted + figures.moved.deleted,
        "reasons": dict(figures.moved.reasons),
        COMMITS: [list(commit) for commit in figures.commits],
    }


def _age(raw: pd.DataFrame) -> float:
    """Seconds since the oldest message of the batch was first sent; 0 for an empty batch."""
    return round(time.time() - int(raw["sent_timestamp"].min()) / 1000, 1) if len(raw) else 0.0


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 3)
