"""Each asset check passes on what is right, and fails on the one thing that it names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from login_pipeline.cli.runs import CheckResult
from login_pipeline.definitions import defs
from login_pipeline.defs.checks import _rows_in_clear, masked_logins_checks, user_logins_table_checks
from login_pipeline.defs.jobs import user_logins_checks_schedule
from login_pipeline.defs.resources import LoginDatabaseResource, MaskingResource
from login_pipeline.logins.transform import mask_logins, raw_messages
from login_pipeline.masking.keys import MaskingKey
from login_pipeline.masking.masker import NOT_KEYED
from login_pipeline.masking.methods import Masks, hmac_sha256_masks
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]
MASKS = hmac_sha256_masks(MaskingKey(bytes(range(7, 250, 7))))


def batch(*bodies: str) -> pd.DataFrame:
    """Messages with these bodies, as they are received."""
    return raw_messages(
        [(f"id-{n}", f"id-{n}", f"receipt-{n}", 1_767_225_600_000, 1, text, text, {}) for n, text in enumerate(bodies)]
    )


@pytest.fixture
def raw(body: Body) -> pd.DataFrame:
    return batch(body(), body(ip="192.0.2.9"), body(device_id="x", locale=None))


@pytest.fixture
def masked(raw: pd.DataFrame) -> pd.DataFrame:
    return mask_logins(raw, MASKS).logins


def failed(raw: pd.DataFrame, masked: pd.DataFrame) -> list[str | None]:
    results = masked_logins_checks()(raw_sqs_messages=raw, masked_logins=masked, login_masking=MaskingResource())
    return [result.check_name for result in results if not result.passed]  # type: ignore[attr-defined]


def test_right_batch_and_an_empty_one_pass(raw: pd.DataFrame, masked: pd.DataFrame) -> None:
    assert failed(raw, masked) == []
    assert failed(batch(), mask_logins(batch(), MASKS).logins) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", None),
        ("user_id", "x" * 129),
        ("user_id", 7),
        ("device_type", "x" * 33),
        ("locale", ""),
        ("create_date", "2026-01-01"),
        ("create_date", None),
    ],
)
def test_value_that_does_not_fit_the_table_fails(
    raw: pd.DataFrame, masked: pd.DataFrame, column: str, value: Any
) -> None:
    masked.at[0, column] = value
    assert failed(raw, masked) == ["columns_fit_the_table"]


def test_columns_that_are_not_the_table_s_fail(raw: pd.DataFrame, masked: pd.DataFrame) -> None:
    no_int4, no_number = masked.assign(app_version=2**31), masked.assign(app_version="2")
    for wrong in (no_int4, no_number, masked.assign(ip="x"), masked.drop(columns="locale")):
        assert failed(raw, wrong) == ["columns_fit_the_table"]


@pytest.mark.parametrize("column", ["masked_ip", "masked_device_id"])
@pytest.mark.parametrize("value", ["199.172.111.135", "2001:db8::1", "593-47-5928"])
def test_value_in_clear_fails(raw: pd.DataFrame, masked: pd.DataFrame, column: str, value: str) -> None:
    masked.at[0, column] = value
    assert "masked_values_hold_no_clear_value" in failed(raw, masked)


def test_device_id_that_looks_like_a_mask_fails_in_clear(body: Body) -> None:
    raw = batch(body(device_id="0123456789abcdef" * 4))
    masked = mask_logins(raw, Masks(ip=MASKS.ip, device_id=str)).logins
    assert failed(raw, masked) == ["masked_values_hold_no_clear_value"]


def test_mask_that_another_message_has_as_its_device_id_passes(body: Body) -> None:
    """Else two crafted messages could keep a queue from ever being loaded."""
    raw = batch(body(ip="198.51.100.9"), body(device_id=MASKS.ip("198.51.100.9").split(".")[1]))
    assert failed(raw, mask_logins(raw, MASKS).logins) == []


def test_two_spellings_of_an_address_are_equal_values(body: Body) -> None:
    raw = batch(*(body(ip=ip) for ip in ("2001:db8::1", "2001:0DB8:0:0::1", "192.0.2.1", "::ffff:192.0.2.1")))
    assert failed(raw, mask_logins(raw, MASKS).logins) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"ip": "nowhere", "device_id": "x"}', '{"ip": 7, "device_id": []}', "{}"])
def test_row_of_a_message_that_has_nothing_to_mask_fails(raw: pd.DataFrame, masked: pd.DataFrame, text: str) -> None:
    raw.at[1, "content"] = text
    assert failed(raw, masked) == ["equal_values_have_equal_masks"]


@pytest.mark.parametrize(
    "masks",
    ["first second another", "first second second", "first first first"],
    ids=["equal values with different masks", "as many masks as values", "different values with equal masks"],
)
def test_masks_that_do_not_correspond_to_the_values_fail(raw: pd.DataFrame, masked: pd.DataFrame, masks: str) -> None:
    """The values are one address, another one, and the first again."""
    made = {"first": masked.at[0, "masked_ip"], "second": masked.at[1, "masked_ip"], "another": MASKS.ip("192.0.2.77")}
    masked["masked_ip"] = pd.Series([made[mask] for mask in masks.split()], dtype=object)
    assert failed(raw, masked) == ["equal_values_have_equal_masks"]


def test_message_that_is_in_the_batch_twice_fails(raw: pd.DataFrame, masked: pd.DataFrame) -> None:
    again = pd.concat([masked, masked.head(1)], ignore_index=True)
    assert failed(raw, again) == ["message_ids_are_unique"]


@pytest.fixture
def loaded(pipeline: Pipeline, body: Body) -> Pipeline:
    pipeline.queue.send(body(), body(locale=None))
    assert pipeline.run().failures == []
    return pipeline


def failed_on_table(pipeline: Pipeline) -> list[str]:
    return [check.name for check in pipeline.run("user_logins_checks_job").checks if check.failed]


def test_loaded_table_passes(loaded: Pipeline) -> None:
    assert failed_on_table(loaded) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE user_logins ADD COLUMN ip text",
        "ALTER TABLE user_logins DROP COLUMN locale",
        "ALTER TABLE user_logins ALTER COLUMN user_id TYPE varchar(64)",
        "ALTER TABLE user_logins ALTER COLUMN create_date TYPE timestamp",
    ],
)
def test_table_that_is_not_the_ddl_s_fails(loaded: Pipeline, change: str) -> None:
    loaded.database.query(change)
    assert "columns_are_those_of_the_ddl" in failed_on_table(loaded)


def in_clear(pipeline: Pipeline, column: str, text: str) -> bool:
    """Whether the check fails on a row that has this text."""
    pipeline.database.query(f"INSERT INTO user_logins ({column}) VALUES (%s)", text)  # noqa: S608
    passed, _ = _rows_in_clear(LoginDatabase(read_settings()))
    pipeline.database.query("DELETE FROM user_logins")
    return not passed


def test_ip_in_clear_in_any_row_fails_and_text_that_only_looks_like_one_passes(pipeline: Pipeline) -> None:
    LoginDatabase(read_settings()).prepare()
    for column in ("masked_ip", "masked_device_id", "user_id", "device_type", "locale"):
        for ip in ("192.0.2.1", " 192.0.2.1 ", "2001:DB8::1", "::1", "1:2:3:4:5:6:7:8"):
            assert in_clear(pipeline, column, ip), (column, ip)
    for text in ("1.2.3", "1.2.3.400", "12:34:56", "a:b", "user 192.0.2.1"):
        assert not in_clear(pipeline, "user_id", text), text


def test_every_check_blocks_but_those_that_warn() -> None:
    specs = [*masked_logins_checks().check_specs, *user_logins_table_checks().check_specs]
    assert {spec.name for spec in specs if not spec.blocking} == {
        "masks_need_a_key",
        "rows_share_their_group_with_others",
    }


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ("DELETE FROM user_logins WHERE locale IS NULL", ["rows_agree_with_the_inbox"]),
        ("INSERT INTO user_logins SELECT * FROM user_logins LIMIT 1", ["rows_agree_with_the_inbox"]),
        ("DELETE FROM user_logins_inbox", ["rows_agree_with_the_inbox", "rows_that_runs_loaded_are_there"]),
        ("UPDATE user_logins SET create_date = '2020-01-01'", ["rows_agree_with_the_inbox"]),
        ("UPDATE user_logins SET user_id = '192.0.2.1'", ["rows_hold_no_ip_in_clear"]),
        (
            "UPDATE user_logins SET create_date = create_date + 2; "
            "UPDATE user_logins_inbox SET create_date = create_date + 2",
            ["create_dates_are_not_in_the_future"],
        ),
    ],
)
def test_row_that_should_not_be_there_or_is_not_fails(loaded: Pipeline, change: str, checks: list[str]) -> None:
    loaded.database.query(change)
    assert failed_on_table(loaded) == checks


def test_check_of_the_table_that_is_executed_alone_answers_alone(loaded: Pipeline) -> None:
    for spec in user_logins_table_checks().check_specs:
        job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(spec.key))
        with_job = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
        result = with_job.resolve_job_def("one_check").execute_in_process(instance=loaded.instance)
        assert [check.check_name for check in result.get_asset_check_evaluations()] == [spec.name]


def test_hourly_check_is_skipped_before_the_first_run_and_a_table_that_is_gone_after_it_fails(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    def asked() -> str:
        resources = {"login_postgres": LoginDatabaseResource()}
        with dg.build_schedule_context(instance, resources=resources) as context:
            return user_logins_checks_schedule().evaluate_tick(context).skip_message or "asked for a run"

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        pipeline.set(LOGIN_DATABASE_URL="postgresql://a:b@127.0.0.1:9/c")
        assert asked() == "asked for a run"
        assert "LOGIN_DATABASE_URL cannot be used" in pipeline.run("user_logins_checks_job").failures[0]
        pipeline.set(LOGIN_DATABASE_URL=pipeline.database.url)
        assert asked() == "There is no table user_logins yet; the first run of login_job creates it"
        instance.report_runless_asset_event(dg.AssetMaterialization("user_logins_table"))
        assert asked() == "asked for a run"
        assert not pipeline.run("user_logins_checks_job").passed


def groups(pipeline: Pipeline) -> CheckResult:
    (check,) = (c for c in pipeline.run("user_logins_checks_job").checks if c.name.startswith("rows_share"))
    return check


def insert(pipeline: Pipeline, users: int, *, rows: int = 1, version: int = 1) -> None:
    pipeline.database.query(
        "INSERT INTO user_logins SELECT u::text, 'ios', 'm', 'm', NULL, %s, '2026-01-01' "
        "FROM generate_series(1, %s) AS u, generate_series(1, %s)",
        version,
        users,
        rows,
    )


def test_users_who_share_their_group_with_too_few_are_warned_about_and_nothing_fails(pipeline: Pipeline) -> None:
    pipeline.run()
    assert groups(pipeline).passed  # an empty table
    assert pipeline.run("user_logins_checks_job").passed
    insert(pipeline, 5)
    assert groups(pipeline).passed
    insert(pipeline, 4, rows=3, version=2)
    check = groups(pipeline)
    assert (check.passed, check.failed, check.warned) == (False, False, True)
    assert check.metadata == {
        "k": 5,
        "groups": 2,
        "smallest_group": 5,
        "smallest_group_of_users": 4,
        "groups_below_k": 1,
        "rows_below_k": 12,
    }
    assert all(type(value) is int for value in check.metadata.values())
    pipeline.set(LOGIN_MIN_GROUP_SIZE=4)
    assert groups(pipeline).passed


def test_groups_differ_by_each_column_that_is_in_clear(pipeline: Pipeline) -> None:
    database = LoginDatabase(read_settings())
    database.prepare()
    insert(pipeline, 9)
    assert database.ask(statements.checks.group_sizes, k=5)[0] == 1
    changes = ["device_type = 'x'", "locale = 'FR'", "app_version = 7", "create_date = '2026-01-02'"]
    for number, change in enumerate(changes):
        pipeline.database.query(f"UPDATE user_logins SET {change} WHERE user_id = %s", str(number + 1))  # noqa: S608
        assert database.ask(statements.checks.group_sizes, k=5)[0] == number + 2


@pytest.mark.parametrize(("method", "passes"), [("sha256", False), ("hmac-sha256", True)])
def test_masks_without_a_key_are_warned_about_and_load(
    pipeline: Pipeline, body: Body, method: str, passes: bool
) -> None:
    pipeline.set(LOGIN_MASKING_METHOD=method)
    pipeline.queue.send(body())
    run = pipeline.run()
    (check,) = (each for each in run.checks if each.name == "masks_need_a_key")
    assert (check.passed, check.warned) == (passes, not passes)
    assert check.metadata.get("advice") == (None if passes else NOT_KEYED)
    assert run.passed
    assert run.metadata["user_logins_table"]["loaded"] == 1
    assert run.metadata["masked_logins"]["masking_method"] == method
    warnings = [e.user_message for e in pipeline.instance.all_logs(pipeline.instance.get_runs()[0].run_id)]
    assert (NOT_KEYED in warnings) is not passes


def test_rows_that_a_promoted_standby_never_had_are_named_with_the_run_that_loaded_them(
    pipeline: Pipeline, body: Body
) -> None:
    """Table, inbox and ledger agree there: the messages are deleted, and only the run history knows of them."""
    pipeline.queue.send(*(body() for _ in range(15)))
    assert pipeline.run().passed
    kept = pipeline.run("user_logins_checks_job")
    (check,) = (each for each in kept.checks if each.name == "rows_that_runs_loaded_are_there")
    assert (check.passed, check.metadata) == (True, {"runs": 1, "rows_lost": 0})
    pipeline.database.query("CREATE TABLE inbox AS TABLE user_logins_inbox; CREATE TABLE logins AS TABLE user_logins")

    pipeline.queue.send(*(body() for _ in range(12)))
    assert pipeline.run().passed
    (newest, *_) = pipeline.instance.get_runs(dg.RunsFilter(job_name="login_job"))
    pipeline.database.query(
        "TRUNCATE user_logins, user_logins_inbox; "
        "INSERT INTO user_logins_inbox TABLE inbox; INSERT INTO user_logins TABLE logins"
    )
    run = pipeline.run("user_logins_checks_job")
    assert [each.name for each in run.checks if each.failed] == ["rows_that_runs_loaded_are_there"]
    (check,) = (each for each in run.checks if each.failed)
    assert check.metadata == {"runs": 2, "rows_lost": 12, "runs_that_loaded_them": [newest.run_id]}
