"""Every command of docs/operations.md is run, in its order, on one deployment."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from login_pipeline_tests import ROOT
from login_pipeline_tests.cluster.disturbances import RUNBOOK
from login_pipeline_tests.conftest import Pipeline

BLOCKS = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Of containers; `make cluster-test` runs them.
ELSEWHERE = ("docker compose up", "python3 deploy/roll.py")
# What the alerts' section shows needs somebody to alert.
ALERT = "login-pipeline alert"


def commands() -> list[str]:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    lines = "".join(BLOCKS.findall(text)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def new_keys(pipeline: Pipeline, tmp_path: Path, body: Callable[..., str]) -> Path:
    """A deployment with rows, a dead letter and messages, and the file that a new key is written to."""
    (tmp_path / "dagster").mkdir()
    pipeline.set(
        LOGIN_MASKING_METHOD="aes-siv",
        LOGIN_BACKUP_URL=str(tmp_path / "backup"),
        LOGIN_RETENTION_DAYS=400,
        DAGSTER_HOME=str(tmp_path / "dagster"),
        NEW_KEYS=str(tmp_path / "keys"),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    )
    pipeline.queue.send(body(), body(ip="no address"), body(user_id="USER_ID"))
    assert pipeline.run().failures == []
    pipeline.queue.send(body())
    return tmp_path / "keys"


def test_commands_that_are_run_in_containers_are_those_of_the_runbook() -> None:
    assert {command for each in RUNBOOK.values() for command in each} - {*commands()} == set()


def test_every_command_of_the_runbook_succeeds(pipeline: Pipeline, new_keys: Path) -> None:
    ran = []
    for command in commands():
        if command.startswith((*ELSEWHERE, ALERT)):
            continue
        done = subprocess.run(["/bin/bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        ran.append(command.split()[1])
        if new_keys.exists():
            pipeline.set(LOGIN_MASKING_KEY=None, LOGIN_MASKING_KEY_SOURCE=str(new_keys))
    assert {"sensor", "drain", "redrive", "restore", "keys", "forget", "prune", "expire", "backup"} <= {*ran}
    assert len(pipeline.database.logins()) == 3
    keys = {mask.split(".")[0] for (_, _, mask, *_) in pipeline.database.logins()}
    assert len(keys) == 1, "a rotation leaves no row under the old key"
