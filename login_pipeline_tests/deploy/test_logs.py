"""What the containers run logs nothing but JSON, and leaves no message behind: daemon, code server, worker, runs."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import urlsplit

import psycopg2
import pytest

from login_pipeline.local.ports import wait_until
from login_pipeline_tests import ROOT
from login_pipeline_tests.at_rest import places
from login_pipeline_tests.at_rest.sentinels import Sentinels
from login_pipeline_tests.conftest import MASKING_KEY, Pipeline
from login_pipeline_tests.redis_server import RedisServer

BIN = Path(sys.executable).parent

pytestmark = pytest.mark.timeout(300)


def image_environment() -> dict[str, str]:
    """What the image sets for the program; not where the image has it."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"(DAGSTER_(?!HOME)\w+|LOGIN_\w+)=(\w+)", text))


def command(program: str) -> list[str]:
    """Of the container that runs it."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    (found,) = re.findall(rf"command: \[({program}\b.*)\]", text)
    name, *arguments = str(found).split(", ")
    return [str(BIN / name), *arguments]


def ended_runs(database_url: str) -> list[str]:
    try:
        connection = psycopg2.connect(database_url)
        cursor = connection.cursor()
        cursor.execute("SELECT status FROM runs WHERE status IN ('SUCCESS', 'FAILURE') ORDER BY id")
        return [status for (status,) in cursor.fetchall()]
    except psycopg2.Error:  # the daemon has not made its tables yet
        return []


def test_daemon_and_worker_log_json_only_and_no_message(pipeline: Pipeline, tmp_path: Path) -> None:
    for name in ("deploy/dagster.yaml", "workspace.yaml"):
        (tmp_path / Path(name).name).write_bytes((ROOT / name).read_bytes())
    pipeline.run()
    sentinels, aws_secret = Sentinels(), token_urlsafe(24)
    loaded, rejected, kept = (sentinels.of(path) for path in ("loaded", "rejected", "on a full disk"))
    pipeline.set(AWS_SECRET_ACCESS_KEY=aws_secret)
    pipeline.queue.send(loaded.login(), rejected.login(ip=rejected.device_id), rejected.login()[:-1])
    own = {
        "DAGSTER_HOME": str(tmp_path),
        "LOGIN_SENSOR_ENABLED": "true",
        "LOGIN_DAGSTER_DATABASE_URL": pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://"),
        "PYTHONPATH": str(ROOT),
    }
    with (tmp_path / "log").open("wb") as log, (tmp_path / "out").open("wb") as out, closing(RedisServer()) as redis:
        env = {**os.environ, **image_environment(), **own, "LOGIN_REDIS_URL": redis.url}
        worker = subprocess.Popen(command("login-pipeline, worker"), cwd=tmp_path, env=env, stdout=out, stderr=log)
        daemon = subprocess.Popen(
            command("dagster-daemon"),
            cwd=tmp_path,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its code servers go with it
        )
        try:
            assert _ends(pipeline, daemon, ["SUCCESS"]), (tmp_path / "log").read_text()
            pipeline.database.fill_disk()
            pipeline.queue.send(kept.login(), kept.login_ipv4())
            assert _ends(pipeline, daemon, ["SUCCESS", "FAILURE"]), (tmp_path / "log").read_text()
        finally:
            worker.terminate()
            worker.wait(timeout=60)
            daemon.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
    text = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"timestamp", "level", "event", "logger"} <= set(line) for line in lines)
    assert {"dagster.daemon", "dagster"} <= {line["logger"] for line in lines}
    (table,) = (line for line in lines if line.get("asset") == "user_logins_table")
    assert (table["loaded"], len(table["run_id"])) == (1, 36)
    assert "health" in {line["event"] for line in lines}
    assert any("disk_full" in line.get("error", "") for line in lines)
    secrets = {"masking key": MASKING_KEY, "AWS secret": aws_secret}
    if password := urlsplit(pipeline.database.url).password:
        secrets["password"] = password
    search = sentinels.search(secrets)
    assert search.places(chain(places.files([tmp_path]), places.rows(pipeline.database.url))) == {}


def _ends(pipeline: Pipeline, daemon: "subprocess.Popen[bytes]", statuses: list[str]) -> bool:
    """Whether runs with these statuses come; the sensor may have asked for one more that found the queue empty."""
    ended = lambda: set(statuses) <= set(ended_runs(pipeline.database.url))  # noqa: E731
    return wait_until(ended, seconds=100, still_possible=lambda: daemon.poll() is None)


def test_every_process_of_the_containers_logs_json() -> None:
    assert image_environment()["LOGIN_LOG_FORMAT"] == "json"
    assert image_environment()["DAGSTER_CLI_API_GRPC_LOG_FORMAT"] == "json"
    started = re.findall(r"command: \[(dagster-.*)\]", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert len(started) == 2
    assert all(command.endswith("--log-format, json") for command in started)
    assert '"--log-format", "json"]' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
