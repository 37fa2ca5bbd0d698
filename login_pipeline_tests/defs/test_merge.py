"""The pipeline in an existing Dagster project: shop/ has the layout that create-dagster makes, and names of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from login_pipeline.defs import login_definitions
from login_pipeline.defs.facts import gather
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.defs.run_history import purge
from login_pipeline.defs.sensors import queue_depth_sensor
from login_pipeline.local.ports import wait_until
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline_tests.conftest import Pipeline

BIN, SHOP = Path(sys.executable).parent, Path(__file__).parent / "shop"
TABLE, ORDERS = dg.AssetKey(["auth", "user_logins_table"]), dg.AssetKey("orders")

Body = Callable[..., str]


@pytest.fixture
def instance(pipeline: Pipeline, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """All is Dagster's default, but that a run is launched at once, without the daemon."""
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
    )
    pipeline.set(DAGSTER_HOME=str(tmp_path), SHOP_STORAGE=str(tmp_path / "shop"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def shop(*command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a tool of Dagster's in the project's folder, as if the project were installed."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(SHOP / "src")}
    environment.pop("DAGSTER_REDACT_USER_CODE_ERRORS", None)
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=SHOP,
        env={**environment, "VIRTUAL_ENV": str(BIN.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("instance")
def test_dg_check_defs_loads_the_project() -> None:
    checked = shop("dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "launch",
    [("dg", "launch", "--job", "login_job"), ("dagster", "job", "launch", "-m", "shop.definitions", "-j", "login_job")],
    ids=["in the process of dg", "by the default launcher"],
)
def test_login_job_loads_a_row_under_the_prefix_and_leaves_the_rest_of_the_project_alone(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body, launch: tuple[str, ...]
) -> None:
    pipeline.queue.send(body(), "{}")
    launched = shop(*launch)
    assert launched.returncode == 0, launched.stdout + launched.stderr
    assert wait_until(lambda: instance.get_runs()[0].is_finished, seconds=60)
    assert instance.get_runs()[0].is_success
    assert len(pipeline.database.logins()) == 1
    assert pipeline.queue.count() == 0
    assert pipeline.dead_letter_queue.count() == 1
    loaded = instance.get_latest_materialization_event(TABLE)
    assert loaded is not None
    assert instance.get_latest_materialization_event(ORDERS) is None


def test_all_assets_at_once_by_the_projects_executor_receive_nothing_and_the_project_keeps_its_io_manager(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    """Its executor has a process for each step, and messages are handed over in the memory of one."""
    pipeline.queue.send(body())
    launched = shop("dg", "launch", "--assets", "*")
    assert "launch login_job, which brings its executor" in launched.stdout + launched.stderr
    assert pipeline.queue.depth() == (1, 0)
    assert instance.get_latest_materialization_event(ORDERS) is not None
    assert (tmp_path / "shop" / "orders").exists()


def requested(instance: dg.DagsterInstance, *prefix: str) -> int:
    """How many runs the sensor with this prefix requests."""
    with dg.build_sensor_context(instance, resources={"login_sqs": LoginQueueResource()}) as context:
        result = queue_depth_sensor(prefix)(context)
    assert isinstance(result, dg.SensorResult)
    return len(result.run_requests or [])


def test_error_that_quotes_a_message_is_not_stored_where_the_project_redacts_nothing(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quote(raw: object, _masks: object) -> None:
        raise ValueError(f"cannot mask {raw['body'].tolist()}")  # type: ignore[index]

    monkeypatch.delenv("DAGSTER_REDACT_USER_CODE_ERRORS")
    monkeypatch.setattr("login_pipeline.defs.assets.mask_logins", quote)
    pipeline.queue.send(body(user_id="sentinel"))
    job = login_definitions(asset_prefix="auth").resolve_job_def("login_job")
    result = job.execute_in_process(instance=pipeline.instance, raise_on_error=False)
    assert not result.success
    stored = str(pipeline.instance.all_logs(result.run_id))
    assert "It failed unexpectedly: ValueError at " in stored
    assert "sentinel" not in stored


def test_jobs_of_the_same_name_elsewhere_in_the_instance_are_neither_counted_nor_purged(
    pipeline: Pipeline, body: Body
) -> None:
    pipeline.set(LOGIN_MAX_CONCURRENT_RUNS=1)
    pipeline.queue.send(body())
    job = login_definitions(asset_prefix="auth").resolve_job_def("login_job")
    pipeline.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=job.run_tags)
    for prefix, wanted in (("auth", 0), ("eu", 1)):
        assert requested(pipeline.instance, prefix) == wanted
    for _ in range(2):
        pipeline.instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags=job.run_tags)
    later = datetime.now(UTC) + timedelta(days=400)
    assert purge(pipeline.instance, days=1, now=later, prefix=["eu"]).runs == 0
    assert purge(pipeline.instance, days=1, now=later, prefix=["auth"]).runs == 1


def test_what_is_known_of_the_runs_is_that_of_the_prefix(pipeline: Pipeline, body: Body) -> None:
    pipeline.queue.send(body())
    job = login_definitions(asset_prefix="auth").resolve_job_def("login_job")
    assert job.execute_in_process(instance=pipeline.instance).success
    queues, database = LoginQueues(read_settings()), LoginDatabase(read_settings())
    for prefix, loaded in (("auth", 1), ("eu", 0)):
        since = datetime.now(UTC) - timedelta(hours=1)
        runs = gather(pipeline.instance, queues, database, since=since, prefix=[prefix]).runs
        assert runs is not None
        assert (runs.batches.loaded, runs.ended.get(dg.DagsterRunStatus.SUCCESS, 0)) == (loaded, loaded)


def test_queue_of_an_instance_that_lets_more_runs_work_is_no_limit(
    pipeline: Pipeline, body: Body, tmp_path: Path
) -> None:
    """Dagster's own default is ten."""
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(*(body() for _ in range(100)))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
        assert requested(instance) == 3
