"""The asset checks, named as facts. They report counts, never a value, because Dagster keeps what they say.

Those that can fail block: a run whose batch fails one loads nothing, and its messages go back to the queue. Those
that only warn block nothing and fail nothing. Those on the table read all of it, so they run on their own schedule and
with `login-pipeline check`, not in every run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg
import pandas as pd
from pydantic import TypeAdapter

from login_pipeline.defs.assets import COMMITS, masked_logins, raw_sqs_messages, user_logins_table
from login_pipeline.defs.failures import as_failure
from login_pipeline.defs.resources import LoginDatabaseResource, MaskingResource
from login_pipeline.logins.columns import column_problems
from login_pipeline.logins.quality import check_batch
from login_pipeline.masking.masker import NOT_KEYED
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import first_uncovered_date
from login_pipeline.settings import MIN_INBOX_DAYS, MaskingMethod


class GroupSizes(NamedTuple):
    """How many users share what the table says of a login in clear: its k-anonymity (Sweeney, 2002).

    Groups of equal device_type, locale, app_version and create_date; in the order of checks.sql. masked_ip and
    masked_device_id are left out: without the key nobody can hold a known value against them.
    """

    groups: int
    smallest_group: int
    smallest_group_of_users: int
    groups_below_k: int
    rows_below_k: int


# Of the newest runs, how many are held against the inbox, and how many are named.
MAX_RUNS, MAX_NAMED = 1000, 5
# A date that is over expires in the night after, or in the next one.
NIGHTS = 2

_COMMITS = TypeAdapter(list[tuple[str, int]])

NOT_ASKED = "not asked, because the columns are wrong"

Counted = int | str | list[str] | dict[str, int]
Outcome = tuple[bool, Mapping[str, Counted]]


def _facts(
    asset: dg.AssetKey, *deps: dg.AssetKey, blocking: bool = True, **descriptions: str
) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, additional_deps=deps, description=description, blocking=blocking)
        for name, description in descriptions.items()
    ]


def masked_logins_checks(prefix: Sequence[str] = ()) -> dg.AssetChecksDefinition:
    """The checks of a batch, whose assets have this prefix."""
    raw, masked = raw_sqs_messages.key.with_prefix(prefix), masked_logins.key.with_prefix(prefix)

    @dg.multi_asset_check(
        name="masked_logins_checks",
        ins={"raw_sqs_messages": dg.AssetIn(raw), "masked_logins": dg.AssetIn(masked)},
        specs=_facts(
            masked,
            raw,
            columns_fit_the_table="Columns, types, lengths and nulls are those that user_logins takes.",
            masked_values_hold_no_clear_value="Every masked value is a mask, and not the value that it masks.",
            equal_values_have_equal_masks="Equal values have equal masks, and different values different ones.",
            message_ids_are_unique="No message is in the batch twice.",
        )
        + _facts(
            masked,
            raw,
            blocking=False,
            masks_need_a_key="Only who has the key can find a value again from its mask. Warns; set "
            "LOGIN_MASKING_METHOD.",
        ),
    )
    def masked_logins_checks(
        raw_sqs_messages: pd.DataFrame, masked_logins: pd.DataFrame, login_masking: MaskingResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Holds the batch's masks against the values they came from, in memory."""
        with as_failure():
            for check, passed, counts in check_batch(raw_sqs_messages, masked_logins):
                yield dg.AssetCheckResult(check_name=check, passed=passed, metadata=counts)
            keyed = login_masking.masker.method is not MaskingMethod.SHA256
            method = {"masking_method": str(login_masking.masker.method)}
            yield dg.AssetCheckResult(
                check_name="masks_need_a_key",
                passed=keyed,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=method if keyed else {**method, "advice": NOT_KEYED},
            )

    return masked_logins_checks


def user_logins_table_checks(prefix: Sequence[str] = ()) -> dg.AssetChecksDefinition:
    """The checks of the table, whose asset has this prefix."""
    table = user_logins_table.key.with_prefix(prefix)
    specs = _facts(
        table,
        columns_are_those_of_the_ddl="The table has the destination's seven columns, types and lengths.",
        rows_agree_with_the_inbox="On every create_date, the table has a row for each message in the inbox.",
        rows_that_runs_loaded_are_there="What successful runs say they loaded is known to the inbox; it is not where a "
        "standby was promoted that did not have it, or an older backup was restored.",
        rows_hold_no_ip_in_clear="No text column of any row holds an ip in clear.",
        create_dates_are_not_in_the_future="No row is dated after today, in UTC.",
        expired_rows_are_gone="No row is older than LOGIN_RETENTION_DAYS, with two days for the nightly job.",
        months_are_made_ahead="Each of the next 31 days has a partition, where user_logins is partitioned by date.",
    ) + _facts(
        table,
        blocking=False,
        rows_share_their_group_with_others="At least LOGIN_MIN_GROUP_SIZE users share each combination of device_type, "
        "locale, app_version and create_date, or few facts would single somebody out. Warns.",
    )

    # can_subset, or the UI could not execute them without the assets before them.
    @dg.multi_asset_check(name="user_logins_table_checks", specs=specs, can_subset=True)
    def user_logins_table_checks(
        context: dg.AssetCheckExecutionContext, login_postgres: LoginDatabaseResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Asks the database about the whole table; nothing but its columns where those are wrong."""
        with as_failure():
            database = login_postgres.database
            database.require_table()
            problems = column_problems(database.columns())
            for spec in specs:
                if spec.key not in context.selected_asset_check_keys:
                    continue
                outcome: Outcome = False, {"problems": [NOT_ASKED]}
                if spec.name == "columns_are_those_of_the_ddl":
                    outcome = not problems, {"problems": problems}
                elif spec.name == "rows_that_runs_loaded_are_there":
                    outcome = _loads(database, context.instance, table)
                elif not problems:
                    outcome = _QUESTIONS[spec.name](database)
                passed, counts = outcome
                severity = dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN
                yield dg.AssetCheckResult(check_name=spec.name, passed=passed, severity=severity, metadata=counts)

    return user_logins_table_checks


def _agreement(database: LoginDatabase) -> Outcome:
    rows, without_key, without_row = database.ask(statements.checks.rows_that_disagree_with_the_inbox)
    counts = {"rows": rows, "rows_without_key": without_key, "keys_without_row": without_row}
    return without_key == 0 and without_row == 0, counts


def _loads(database: LoginDatabase, instance: dg.DagsterInstance, table: dg.AssetKey) -> Outcome:
    """Runs lose whole transactions, so one message of each is asked for; the inbox forgets none of these days."""
    since = (datetime.now(UTC) - timedelta(days=MIN_INBOX_DAYS)).timestamp()
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(table, after_timestamp=since), limit=MAX_RUNS
    ).records
    commits = {
        message_id: (rows, record.run_id)
        for record in records
        if record.asset_materialization and (recorded := record.asset_materialization.metadata.get(COMMITS))
        for message_id, rows in _COMMITS.validate_python(recorded.value)
    }
    lost = [commits[message_id] for message_id in commits.keys() - database.loaded_among(list(commits))]
    counts = {"runs": len(records), "rows_lost": sum(rows for rows, _ in lost)}
    runs = sorted({run_id for _, run_id in lost})[:MAX_NAMED]
    return not lost, {**counts, "runs_that_loaded_them": runs} if lost else counts


def _rows_in_clear(database: LoginDatabase) -> Outcome:
    (in_clear,) = database.ask(statements.checks.rows_with_an_ip_in_clear)
    return in_clear == 0, {"rows_with_an_ip_in_clear": in_clear}


def _rows_in_the_future(database: LoginDatabase) -> Outcome:
    (future,) = database.ask(statements.checks.rows_dated_in_the_future)
    return future == 0, {"rows_dated_in_the_future": future}


def _rows_that_expired(database: LoginDatabase) -> Outcome:
    days, rows = database.settings.retention_days, 0
    if days is not None:
        (rows,) = database.ask(statements.checks.rows_that_expired, days=days + NIGHTS)
    return rows == 0, {"rows_that_expired": rows}


def _months_ahead(database: LoginDatabase) -> Outcome:
    with database.transaction() as cursor:
        first = first_uncovered_date(cursor)
    return first is None, {"first_date_without_partition": str(first)} if first else {}


def _groups(database: LoginDatabase) -> Outcome:
    k = database.settings.min_group_size
    sizes = GroupSizes(*database.ask(statements.checks.group_sizes, k=k))
    return sizes.groups_below_k == 0, {"k": k, **sizes._asdict()}


_QUESTIONS: Mapping[str, Callable[[LoginDatabase], Outcome]] = {
    "rows_agree_with_the_inbox": _agreement,
    "rows_hold_no_ip_in_clear": _rows_in_clear,
    "create_dates_are_not_in_the_future": _rows_in_the_future,
    "expired_rows_are_gone": _rows_that_expired,
    "months_are_made_ahead": _months_ahead,
    "rows_share_their_group_with_others": _groups,
}
