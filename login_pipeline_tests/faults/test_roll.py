"""A roll: the last release's runs beside those of today, on the tables that today's code prepares."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests import ROOT
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, wait_for

DRAIN = "import sys; from login_pipeline.cli.main import main; sys.argv = ['login-pipeline', 'drain', '--json']; main()"


@pytest.fixture
def last_release(tmp_path: Path) -> Path:
    """The code of the commit that added its heading to CHANGELOG.md, where the release's tag is."""
    if _git("rev-parse", "--is-shallow-repository") != b"false\n":
        pytest.skip("this checkout has no history; fetch it with: git fetch --unshallow")
    release = _git("log", "-1", "--format=%H", "-G", r"^## \[[0-9]", "--", "CHANGELOG.md").decode().strip()
    code = _git("archive", "--format=zip", release, "login_pipeline")
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_last_release_and_today_drain_one_queue_into_the_same_tables(account: Account, last_release: Path) -> None:
    account.send(40, malformed=2)
    account.pipeline.set(LOGIN_BATCH_SIZE=10)
    LoginDatabase(read_settings()).prepare()
    with locked(account.pipeline.database):
        drains = [_drain(code) for code in (last_release, ROOT)]
        wait_for(account.pipeline.database, WAITING_LOADS, len(drains))
    old, new = [_figures(each) for each in drains]
    assert old["loaded"] >= 8
    assert new["loaded"] >= 8
    account.assert_settled()


def _git(*arguments: str) -> bytes:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout


def _drain(code: Path) -> "subprocess.Popen[bytes]":
    """With the code in that folder, which Python looks through first."""
    return subprocess.Popen([sys.executable, "-c", DRAIN], cwd=code, stdout=subprocess.PIPE)


def _figures(drain: "subprocess.Popen[bytes]") -> dict[str, Any]:
    output, _ = drain.communicate(timeout=60)
    assert drain.returncode == 0
    figures: dict[str, Any] = json.loads(output)
    return figures
