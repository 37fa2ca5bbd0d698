"""The two dagster.yaml files, as the daemon runs with them: the queue of runs, its limit, and run monitoring."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest

from login_pipeline.definitions import defs
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.defs.sensors import queue_depth_sensor
from login_pipeline.instance.run_launcher import LeasedRunLauncher
from login_pipeline.local import supervisor
from login_pipeline.local.ports import wait_until
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.instance.cluster import cluster

DAEMON = [sys.executable, "-m", "dagster._daemon", "run", "-m", "login_pipeline.definitions"]

Body = Callable[..., str]


@pytest.fixture(params=["deploy/dagster.yaml", "login_pipeline/local/dagster.yaml"])
def instance(request: pytest.FixtureRequest, pipeline: Pipeline, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With a worker, where the launcher needs one."""
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=1)
    with cluster(pipeline, tmp_path, ROOT / request.param) as it:
        if isinstance(it.instance.run_launcher, LeasedRunLauncher):
            it.worker()
        yield it.instance


@contextmanager
def daemon(folder: Path) -> Iterator[psutil.Process]:
    process = supervisor.start(DAEMON, log=folder / "daemon.log", stop_signal=signal.SIGINT, env=dict(os.environ))
    try:
        yield psutil.Process(process.pid)
    finally:
        supervisor.stop(process)


def loaded(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs that have loaded their batch, the first one first."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
    return sorted(records, key=lambda run: run.start_time or 0)


def test_sensor_that_waits_for_a_silent_source_keeps_no_other_from_its_ticks(instance: dg.DagsterInstance) -> None:
    sensors = list(defs.sensors or ())
    assert len(sensors) > 1
    assert instance.get_settings("sensors") == {"use_threads": True, "num_workers": len(sensors)}


def test_sensor_asks_for_as_many_runs_again_as_can_be_at_work(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body
) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(*(body() for _ in range(100)))
    with dg.build_sensor_context(instance, resources={"login_sqs": LoginQueueResource()}) as context:
        result = queue_depth_sensor()(context)
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 6


def test_run_that_finds_no_place_waits_and_starts_when_another_ends(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_SENSOR_ENABLED="true", LOGIN_VISIBILITY_TIMEOUT=240)
    pipeline.queue.send(*(body() for _ in range(20)))
    with daemon(tmp_path):
        both_ended = wait_until(lambda: len(loaded(instance)) >= 2, seconds=90, still_possible=lambda: True)
        assert both_ended, (tmp_path / "daemon.log").read_text()
    assert len(pipeline.database.logins()) == 20
    first, second = loaded(instance)[:2]
    assert [run.dagster_run.tags[dg.MAX_RUNTIME_SECONDS_TAG] for run in (first, second)] == ["240", "240"]
    assert second.create_timestamp.timestamp() < (first.end_time or 0) <= (second.start_time or 0)


def test_run_monitoring_ends_login_job_with_its_messages_time_and_other_jobs_a_day_later(
    pipeline: Pipeline, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Monitoring takes the newest run first: when it has ended the first one, it has passed the other."""
    runs = {}
    for job_name, hours in {"login_job": 1, "user_logins_backup_job": 20}.items():
        job = defs.resolve_job_def(job_name)
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, tags=job.run_tags)
        started = time.time() - hours * 3600 + 60
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name)
        instance.report_dagster_event(event, run.run_id, timestamp=started)
        runs[job_name] = run.run_id

    def status(job_name: str) -> dg.DagsterRunStatus:
        run = instance.get_run_by_id(runs[job_name])
        assert run is not None
        return run.status

    with daemon(tmp_path) as process:
        wait_until(
            lambda: status("login_job") is dg.DagsterRunStatus.FAILURE, seconds=60, still_possible=process.is_running
        )
    assert {job_name: status(job_name) for job_name in runs} == {
        "login_job": dg.DagsterRunStatus.FAILURE,
        "user_logins_backup_job": dg.DagsterRunStatus.STARTED,
    }
