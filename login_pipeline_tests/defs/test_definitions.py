"""What Dagster's own tools make of the project."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from login_pipeline.definitions import defs
from login_pipeline.defs.sensors import queue_depth_sensor
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Pipeline

BIN = Path(sys.executable).parent


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "VIRTUAL_ENV": str(BIN.parent)}
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_wrong_setting_is_reported_in_the_same_sentence_when_definitions_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_SENSOR_ENABLED", "perhaps")
    checked = run("dg", "check", "defs")
    assert checked.returncode != 0
    assert "LOGIN_SENSOR_ENABLED: " in checked.stdout + checked.stderr


def test_dg_launches_the_job(pipeline: Pipeline) -> None:
    pipeline.queue.send('{"not": "a login"}')
    launched = run("dg", "launch", "--job", "login_job")
    assert launched.returncode == 0, launched.stderr
    assert pipeline.queue.count() == 0
    assert pipeline.dead_letter_queue.count() == 1


def test_every_asset_says_what_it_is() -> None:
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners == ["team:data-platform"], spec.key
        assert spec.group_name == "logins", spec.key
        assert spec.kinds, spec.key
        if spec.key.to_user_string() != "login_queue":
            columns = spec.metadata["dagster/column_schema"].columns
            assert columns
            assert all(column.description for column in columns), spec.key


def test_every_job_schedule_and_sensor_says_what_it_does() -> None:
    assert defs.jobs
    assert defs.schedules
    assert defs.sensors
    for each in (*defs.jobs, *defs.schedules, *defs.sensors):
        assert each.description, each


def test_schedule_is_named_after_what_it_runs() -> None:
    names = {schedule.job_name: schedule.name for schedule in defs.get_repository_def().schedule_defs}
    assert names == {job: f"{job.removesuffix('_job')}_schedule" for job in names}


def test_sensor_is_off_unless_it_is_turned_on() -> None:
    assert queue_depth_sensor().default_status is dg.DefaultSensorStatus.STOPPED
