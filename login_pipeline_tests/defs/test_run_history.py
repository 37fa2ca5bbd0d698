"""What Dagster keeps of old runs is purged, and nothing else."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from login_pipeline.cli.runs import run
from login_pipeline.definitions import defs
from login_pipeline.defs.run_history import JOBS, purge
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.defs.simulated_days import copy_observation, copy_run, stored

DAY = timedelta(days=1)

Body = Callable[..., str]


@pytest.fixture
def instance(pipeline: Pipeline, body: Body, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """As in production; it has one run and one observation."""
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy/dagster.yaml").read_bytes())
    storage = pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://")
    pipeline.set(LOGIN_DAGSTER_DATABASE_URL=storage, DAGSTER_HOME=str(tmp_path))
    pipeline.queue.send(body())
    with dg.DagsterInstance.get() as instance:
        assert run("login_job", instance).passed
        instance.report_runless_asset_event(dg.AssetObservation("login_queue", metadata={"messages": 1}))
        yield instance


def only_run(instance: dg.DagsterInstance) -> str:
    (run,) = instance.get_runs()
    return run.run_id


def observations(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_observations(dg.AssetKey("login_queue"), limit=1000).records)


def test_every_job_s_runs_are_purged() -> None:
    assert sorted(JOBS) == sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))


def test_days_of_a_trickle_leave_dagster_s_storage_as_large_as_one(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    url, first, start = pipeline.database.url, only_run(instance), datetime.now(UTC)
    after = []
    for _ in range(3):
        copy_run(url, first, start, DAY / 100, 100)
        copy_observation(url, start, DAY / 100, 100)
        start += DAY
        purged = purge(instance, days=1, now=start)
        after.append(stored(url))
    assert 98 <= purged.runs <= 102
    assert 98 <= purged.observations <= 102
    assert all(count <= 1.05 * before for before, count in zip(after[0][:-1], after[2][:-1], strict=True))
    assert after[2].bytes < 1.2 * after[1].bytes


@pytest.mark.parametrize(
    ("status", "days", "is_kept"),
    [
        ("SUCCESS", 2, True),
        ("SUCCESS", 4, False),
        ("FAILURE", 4, True),
        ("FAILURE", 31, False),
        ("CANCELED", 4, True),
        ("CANCELED", 31, False),
        ("STARTED", 400, True),
        ("QUEUED", 400, True),
    ],
)
def test_run_is_kept_so_many_days_a_failed_one_ten_times_longer_and_one_that_has_not_ended_always(
    pipeline: Pipeline, instance: dg.DagsterInstance, status: str, days: int, is_kept: bool
) -> None:
    first, now = only_run(instance), datetime.now(UTC)
    copy_run(pipeline.database.url, first, now - days * DAY, DAY, 1)
    pipeline.database.query("UPDATE runs SET status = %s WHERE run_id <> %s", status, first)
    before = stored(pipeline.database.url)
    assert purge(instance, days=3, now=now).runs == (not is_kept)
    after = stored(pipeline.database.url)
    assert (after.runs, after.events, after.check_results) == tuple(
        count if is_kept else count // 2 for count in (before.runs, before.events, before.check_results)
    )
    assert instance.get_run_by_id(first) is not None


def test_newest_successful_run_and_newest_observation_stay_however_old(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    copy_observation(pipeline.database.url, datetime.now(UTC) - DAY, DAY, 1)
    assert observations(instance) == 2
    purged = purge(instance, days=3, now=datetime.now(UTC) + 400 * DAY)
    assert (purged.runs, purged.observations) == (0, 1)
    assert only_run(instance)
    assert observations(instance) == 1


def test_job_purges_and_says_how_much(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    pipeline.set(LOGIN_RUN_HISTORY_DAYS=1)
    copy_run(pipeline.database.url, only_run(instance), datetime.now(UTC) - 2 * DAY, DAY / 10, 3)
    result = defs.resolve_job_def("run_history_job").execute_in_process(instance=instance)
    (output,) = [event.step_output_data for event in result.all_events if event.is_successful_output]
    assert {name: value.value for name, value in output.metadata.items()} == {"runs": 3, "observations": 0}
    assert len(instance.get_runs()) == 2  # the first one, and this


def test_storage_that_is_not_postgresql_loses_its_runs(pipeline: Pipeline, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for _ in range(2):
            instance.create_run_for_job(defs.resolve_job_def("login_job"), status=dg.DagsterRunStatus.SUCCESS)
        assert purge(instance, days=1, now=datetime.now(UTC) + 2 * DAY) == (1, 0)


def test_wrong_setting_is_its_sentence(pipeline: Pipeline) -> None:
    pipeline.set(LOGIN_RUN_HISTORY_DAYS=0)
    (failure,) = pipeline.run("run_history_job").failures
    assert failure.startswith("LOGIN_RUN_HISTORY_DAYS: ")
