"""`login-pipeline metrics`, scraped over HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
from prometheus_client.parser import text_string_to_metric_families

from login_pipeline.cli.metrics import PipelineCollector
from login_pipeline.cli.runs import run
from login_pipeline.defs import login_definitions
from login_pipeline.local.ports import HOST, free_port, wait_until
from login_pipeline.logins.reasons import Reason
from login_pipeline.settings import read_settings
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Command, Pipeline
from login_pipeline_tests.roles import PASSWORD, roles_of

Body = Callable[..., str]
Series = dict[tuple[str, str], float]


@contextmanager
def serving(pipeline: Pipeline, port: int, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own, with the settings of the test."""
    command = [str(Path(sys.executable).with_name("login-pipeline")), "metrics", "--port", str(port), *options]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stderr=file, env={**os.environ, **pipeline.environment})
    try:
        listening = wait_until(lambda: bool(scraped(port)), seconds=60, still_possible=lambda: process.poll() is None)
        assert listening, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def scraped(port: int) -> Series:
    """Each series by its name and its label's value; empty where nobody listens."""
    try:
        with urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as response:
            text = response.read().decode()
    except OSError:
        return {}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(each.name.removeprefix("login_pipeline_"), "".join(each.labels.values())): each.value for each in samples}


def test_scrape_says_what_runs_did_though_none_lives_any_longer(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_MASKING_KEY_SOURCE=None, LOGIN_BACKUP_URL=str(tmp_path / "backups"))
    pipeline.queue.send(body(), body(), "not a login")
    assert run("login_job", recorded).passed
    assert run("user_logins_checks_job", recorded).passed
    pipeline.queue.send(body())
    pipeline.set(LOGIN_MASKING_KEY=None)  # it needs none
    port = free_port()
    with serving(pipeline, port, tmp_path / "log") as process:
        series = scraped(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "log").read_text() == ""
    expected = {
        ("queue_messages", "visible"): 1,
        ("queue_messages", "in_flight"): 0,
        ("queue_in_flight_limit", ""): 120_000,
        ("recent_dead_letters", "not_json"): 1,
        ("recent_dead_letters", "missing"): 0,
        ("recent_messages", "loaded"): 2,
        ("recent_messages", "quarantined"): 1,
        ("recent_messages", "deleted"): 3,
        ("recent_runs_ended", "success"): 1,
        ("failures_in_a_row", ""): 0,
        ("rows", ""): 2,
        ("rows_below_k", ""): 2,
        ("job_failed", "user_logins_backup_job"): 0,
        ("check_passed", "rows_agree_with_the_inbox"): 1,
        ("source_up", "dagster"): 1,
    }
    assert {name: series[name] for name in expected} == expected
    assert 0 < time.time() - series[("last_backup_timestamp_seconds", "")] < 300  # the first run
    assert len(series) < 60
    assert {label for name, label in series if name == "recent_dead_letters"} == set(Reason)
    assert ("check_passed", "rows_share_their_group_with_others") not in series


def test_assets_with_a_prefix_have_metrics_of_their_own(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    for prefix in (["shop", "auth"], []):
        pipeline.queue.send(*[body()] * (1 + len(prefix)))
        job = login_definitions(asset_prefix=prefix).resolve_job_def("login_job")
        assert job.execute_in_process(instance=recorded).success
    for options, loaded in ((["--asset-prefix", "shop/auth"], 3), ([], 1)):
        port = free_port()
        with serving(pipeline, port, tmp_path / "log", *options):
            assert scraped(port)["recent_messages", "loaded"] == loaded


def test_every_metric_is_in_the_document_the_alerts_and_the_dashboard_name_no_other(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_MASKING_KEY=f"2026-01-02:{pipeline.environment['LOGIN_MASKING_KEY']}")
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / "backups"))
    pipeline.queue.send(body())
    for job in ("login_job", "user_logins_checks_job", "user_logins_backup_job"):
        assert run(job, recorded).passed
    port = free_port()
    with serving(pipeline, port, tmp_path / "log"):
        served = {name for name, _ in scraped(port)}
    document = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `login_pipeline_(\w+)", document, re.MULTILINE)) == served
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    dashboard = (ROOT / "deploy" / "grafana" / "login-pipeline.json").read_text(encoding="utf-8")
    assert set(re.findall(r"login_pipeline_(\w+)", rules)) <= served
    assert set(re.findall(r"login_pipeline_(\w+)", dashboard)) == served
    assert json.loads(dashboard)["panels"]


def test_backup_that_nobody_wants_any_longer_is_not_overdue(
    pipeline: Pipeline, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / "backups"))
    pipeline.queue.send(body())
    for job in ("login_job", "user_logins_backup_job"):
        assert run(job, recorded).passed
    pipeline.set(LOGIN_BACKUP_URL=None)
    metrics = {metric.name: metric.samples for metric in PipelineCollector(read_settings(), recorded).collect()}
    assert metrics["login_pipeline_last_receive_timestamp_seconds"][0].value > 0
    assert [sample.value for sample in metrics["login_pipeline_last_backup_timestamp_seconds"]] == []


def test_source_that_cannot_be_read_is_said_and_in_the_log_with_its_reason(
    pipeline: Pipeline, recorded: dg.DagsterInstance, tmp_path: Path
) -> None:
    pipeline.set(LOGIN_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    port = free_port()
    with serving(pipeline, port, tmp_path / "log"):
        series = scraped(port)
    assert {label: value for (name, label), value in series.items() if name == "source_up"} == {
        "login_queue": 1,
        "database": 0,
        "dagster": 1,
    }
    assert "LOGIN_DATABASE_URL" in (tmp_path / "log").read_text()


def test_password_that_is_refused_is_said_at_this_scrape_as_no_rotation_is_waited_for(
    pipeline: Pipeline, recorded: dg.DagsterInstance, tmp_path: Path
) -> None:
    source = tmp_path / "password"
    source.write_text("another one")
    source.chmod(0o600)
    port = free_port()
    with roles_of(pipeline.database) as roles:
        url = roles.loader.url.replace(f":{PASSWORD}@", "@")
        pipeline.set(LOGIN_DATABASE_URL=url, LOGIN_DATABASE_PASSWORD_SOURCE=str(source))
        with serving(pipeline, port, tmp_path / "log"):
            assert scraped(port)[("source_up", "database")] == 0
    assert "the server does not accept the user and the password" in (tmp_path / "log").read_text()


def test_what_it_cannot_do_without_is_one_sentence(
    pipeline: Pipeline, recorded: dg.DagsterInstance, command: Command
) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = str(other.getsockname()[1])
        code, out, err = command("metrics", "--port", port)
    assert (code, out) == (2, "")
    assert err.startswith(f"Port {port} of 127.0.0.1 cannot be listened on (Address already in use); ")
    pipeline.set(DAGSTER_HOME=None)
    code, out, err = command("metrics")
    assert (code, out) == (2, "")
    assert err.startswith("DAGSTER_HOME is not set, so nothing is known of any run; ")
