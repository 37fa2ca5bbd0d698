"""Structured logs: each line parses, says which run it is about, and has nothing that a message said."""

import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from login_pipeline.defs.run_log import run_log
from login_pipeline.logs.json_lines import FIRST, formatter
from login_pipeline.logs.redaction import redact_errors
from login_pipeline.logs.setup import LOGGER, process_log, set_up_logging
from login_pipeline_tests.conftest import MASKING_KEY, Command, Pipeline
from login_pipeline_tests.defs.test_assets import SENTINELS, send_sentinels

Body = Callable[..., str]
Line = dict[str, Any]
COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def parsed(stderr: str) -> list[Line]:
    """The lines, each of which is a JSON object with the keys that all have."""
    lines = [json.loads(line, parse_constant=_refuse) for line in stderr.splitlines()]
    assert all(tuple(line)[: len(FIRST)] == FIRST for line in lines)
    assert all(line["timestamp"].endswith("Z") for line in lines)
    return lines


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


Lines = Callable[[], list[Line]]


class _Stderr:
    """Stderr as it is now: pytest changes it between a fixture and its test."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Structured logs in this process; gives what was written since, and leaves all as it was."""
    for owner, name in [
        (sys, "excepthook"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
        (warnings, "showwarning"),
        (logging, "raiseExceptions"),
        (logging, "_loggerClass"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setenv("LOGIN_LOG_FORMAT", "json")
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before, level = list(root.handlers), root.level
    assert set_up_logging()
    (console,) = (handler for handler in ours.handlers if handler in root.handlers)
    assert isinstance(console, logging.StreamHandler)
    console.setStream(_Stderr())
    yield lambda: parsed(capfd.readouterr().err)
    root.handlers, ours.handlers = before, []
    root.setLevel(level)
    redact_errors()


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, "--log-format", "json", *arguments], text=True, capture_output=True, check=False)


def events(lines: list[Line]) -> list[str]:
    return [line["event"] for line in lines]


def test_drain_logs_its_runs_and_figures_and_no_message(pipeline: Pipeline, body: Body) -> None:
    """As a process of its own, whose option comes before the variable."""
    pipeline.set(LOGIN_LOG_FORMAT="text")
    send_sentinels(pipeline, body)
    drained = command("drain", "--json")
    assert drained.returncode == 0
    assert json.loads(drained.stdout)["loaded"] == 1
    lines = parsed(drained.stderr)
    assert sorted(events(lines)) == ["drained", "loaded", "quarantined", "quarantined", "received", "run_finished"]
    run, total = lines[-2:]
    assert {line["level"] for line in lines} == {"info"}
    assert {line["run_id"] for line in lines[:-1]} == {run["run_id"]}
    moved = {line["message_id"]: line["reason"] for line in lines if line["event"] == "quarantined"}
    assert sorted(moved.values()) == ["malformed.ip", "not_json"]
    assert len(run["run_id"]) == 36
    assert run["counts"]["user_logins_table"]["loaded"] == 1
    assert run["counts"]["quarantined_logins"]["reasons"] == {"malformed.ip": 1, "not_json": 1}
    assert (total["received"], total["loaded"], total["quarantined"], total["deleted"]) == (3, 1, 2, 3)
    assert reported(drained.stderr) == []


def reported(text: str) -> list[str]:
    secrets = (*SENTINELS, MASKING_KEY, "hunter2", "sentinel-4", "sentinel-5")
    return [secret for secret in secrets if secret in text]


Ended = tuple[int, str, list[Line]]


@pytest.fixture
def ended(json_lines: Lines, command: Command) -> Callable[..., Ended]:
    """Runs the command in this process; its exit code, stdout and lines."""

    def run(*arguments: str) -> Ended:
        exit_code, out, err = command(*arguments)
        assert reported(err) == []
        return exit_code, out, parsed(err)

    return run


def test_check_that_warns_is_kept_apart_from_one_that_fails(pipeline: Pipeline, ended: Callable[..., Ended]) -> None:
    pipeline.set(LOGIN_MASKING_METHOD="sha256")
    exit_code, _, (warning, *_, run, _) = ended("drain")
    assert (exit_code, warning["level"], warning["event"]) == (0, "warning", "masks_need_a_key")
    assert (run["event"], run["level"], run["passed"]) == ("run_finished", "info", True)
    assert (run["failed_checks"], run["warned_checks"]) == ([], ["masks_need_a_key"])


def test_failed_run_is_reported_with_its_sentence_and_exit_code(
    pipeline: Pipeline, body: Body, ended: Callable[..., Ended]
) -> None:
    pipeline.run()
    pipeline.database.fill_disk()
    pipeline.queue.send(body(user_id="sentinel-4"))
    exit_code, out, lines = ended("drain", "--json")
    assert json.loads(out)["loaded"] == 0
    assert events(lines) == ["received", "released", "run_finished", "drained", "command_failed"]
    assert lines[1]["messages"] == 1
    run, _, end = lines[2:]
    assert (run["level"], run["passed"]) == ("error", False)
    assert run["failures"] == [end["error"]]
    assert "disk_full" in end["error"]
    assert exit_code == end["exit_code"] == 1


@pytest.mark.parametrize(
    ("settings", "arguments", "error"),
    [
        ({"LOGIN_BATCH_SIZE": "many"}, ["drain"], "LOGIN_BATCH_SIZE: "),
        ({"LOGIN_DATABASE_URL": "postgresql://a:hunter2@127.0.0.1:9/c"}, ["drain"], "The database in LOGIN_DATABASE"),
        ({}, ["nothing"], "No such command"),
        ({}, ["send", "--sample", "0"], "Invalid value for '--sample'"),
    ],
)
def test_what_is_wrong_with_the_call_is_one_line(
    pipeline: Pipeline, ended: Callable[..., Ended], settings: dict[str, str], arguments: list[str], error: str
) -> None:
    pipeline.set(**settings)
    exit_code, out, (line,) = ended(*arguments)
    assert (exit_code, out) == (2, "")
    assert (line["event"], line["level"], line["exit_code"], line["run_id"]) == ("command_failed", "error", 2, None)
    assert line["error"].startswith(error)


def test_line_of_a_file_that_cannot_be_sent_is_reported_by_its_number(
    pipeline: Pipeline, ended: Callable[..., Ended], tmp_path: Path
) -> None:
    file = tmp_path / "logins.jsonl"
    file.write_bytes(b"sentinel-5\n\xff\xfe sentinel-5\n")
    exit_code, out, (sent, refused) = ended("send", str(file))
    assert (exit_code, out) == (1, "1 message sent\n")
    assert (sent["event"], sent["messages"], sent["refused"]) == ("sent", 1, 1)
    assert (refused["event"], refused["line"], refused["reason"]) == ("line_not_sent", 2, "it is not UTF-8")


@pytest.mark.parametrize(
    ("variable", "arguments", "sentence"),
    [
        ("json", ["--log-format", "text", "nothing"], "\nError: No such command"),
        ("xml", ["doctor"], "LOGIN_LOG_FORMAT: input should be 'text' or 'json'"),
    ],
)
def test_text_where_the_option_says_so_or_the_variable_is_wrong(
    monkeypatch: pytest.MonkeyPatch, command: Command, variable: str, arguments: list[str], sentence: str
) -> None:
    monkeypatch.setenv("LOGIN_LOG_FORMAT", variable)
    exit_code, _, err = command(*arguments)
    assert exit_code == 2
    assert sentence in f"\n{err}"
    assert err.strip().splitlines()[-1].startswith(sentence.strip())


def test_text_shows_nothing_of_this(pipeline: Pipeline, body: Body, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    process_log().error("event")
    assert capfd.readouterr().err == ""


def test_error_that_quotes_a_message_is_reported_by_its_class_and_place(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, json_lines: Lines
) -> None:
    def quote(raw: object, _masks: object) -> None:
        raise ValueError(f"cannot mask {raw['body'].tolist()}")  # type: ignore[index]

    send_sentinels(pipeline, body)
    monkeypatch.setattr("login_pipeline.defs.assets.mask_logins", quote)
    pipeline.run()
    lines = json_lines()
    (error,) = [line for line in lines if "exception" in line]
    assert error["exception"]["class"] == "ValueError"
    assert error["exception"]["code"][-1].endswith(" in quote")
    assert error["run_id"] == lines[-1]["run_id"] == pipeline.instance.get_runs()[0].run_id
    assert reported(json.dumps(lines)) == []


def test_dagster_s_own_lines_are_json_with_run_step_and_counts(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, json_lines: Lines
) -> None:
    monkeypatch.setattr("login_pipeline.cli.runs._QUIET", {})
    send_sentinels(pipeline, body)
    pipeline.run()
    lines = json_lines()
    run_id = pipeline.instance.get_runs()[0].run_id
    assert {line["run_id"] for line in lines} == {run_id}
    (table,) = [line for line in lines if line.get("asset") == "user_logins_table"]
    assert (table["event"], table["step"], table["loaded"]) == ("ASSET_MATERIALIZATION", "user_logins_table", 1)
    assert {line["check"] for line in lines if "check" in line} >= {"message_ids_are_unique"}
    assert reported(json.dumps(lines)) == []


def test_failed_step_is_reported_by_our_sentence(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch, json_lines: Lines
) -> None:
    monkeypatch.setattr("login_pipeline.cli.runs._QUIET", {})
    pipeline.run()
    pipeline.database.fill_disk()
    pipeline.queue.send(body(user_id="sentinel-4"))
    json_lines()
    (sentence,) = pipeline.run().failures
    lines = json_lines()
    (step,) = [line for line in lines if line["event"] == "STEP_FAILURE"]
    assert (step["error"], step["step"], step["level"]) == (sentence, "user_logins_table", "error")
    assert reported(json.dumps(lines)) == []


FORGED = 'x"}\r\n{"event": "forged"}\x1b[2J\u202e\u2028\x85\x00'


def test_value_cannot_forge_a_line(json_lines: Lines, capfd: pytest.CaptureFixture[str]) -> None:
    process_log().info("quarantined", message_id=FORGED, reason="not_json")
    written = capfd.readouterr().err
    assert written.isascii()
    assert [character for character in written if not character.isprintable()] == ["\n"]
    (line,) = parsed(written)
    assert line["message_id"] == FORGED
    logging.getLogger("dagster").error(FORGED)
    assert json_lines()[0]["message"] == FORGED


def test_text_that_is_no_unicode_is_a_line_all_the_same() -> None:
    """Not by a logger: pytest keeps what it logs, and cannot encode it."""
    line = formatter().format(logging.makeLogRecord({"name": "dagster", "msg": "\ud800"}))
    assert line.isascii()
    assert json.loads(line)["message"] == "\ud800"


def test_other_library_s_line_comes_without_what_it_put_in(json_lines: Lines) -> None:
    logging.getLogger("other").warning("refused %s", "sentinel-1", extra={"body": "sentinel-2"})
    (line,) = json_lines()
    assert (line["event"], line["message"], line["logger"]) == ("log", "refused %s", "other")
    assert line["code"][0].endswith("in test_other_library_s_line_comes_without_what_it_put_in")
    assert reported(json.dumps(line)) == []


def test_exception_in_a_log_line_is_its_class_and_place(json_lines: Lines) -> None:
    try:
        raise KeyError("sentinel-1")
    except KeyError:
        logging.getLogger("dagster.code_server").exception("it failed")
    (line,) = json_lines()
    assert line["message"] == "it failed"
    assert line["exception"]["class"] == "KeyError"
    assert reported(json.dumps(line)) == []


def test_error_that_ends_a_thread_is_its_class_and_place(json_lines: Lines) -> None:
    def fail() -> None:
        raise ValueError("sentinel-1")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (line,) = json_lines()
    assert (line["event"], line["exception"]["class"]) == ("unexpected_error", "ValueError")
    assert reported(json.dumps(line)) == []


def test_warning_and_error_that_ends_the_process_are_reported_by_their_class_and_place() -> None:
    program = """
import warnings
from login_pipeline.logs.setup import set_up_logging
set_up_logging()
warnings.warn("sentinel-1")
raise ValueError("sentinel-1")
"""
    python = [sys.executable, "-c", program]
    ended = subprocess.run(python, env={"LOGIN_LOG_FORMAT": "json"}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    warning, error = parsed(ended.stderr)
    assert (warning["event"], warning["category"], warning["code"]) == ("warning", "UserWarning", ["<string>:5"])
    assert (error["event"], error["exception"]) == (
        "unexpected_error",
        {"class": "ValueError", "code": ["<string>:6 in <module>"]},
    )
    assert reported(ended.stderr) == []


def test_number_that_json_has_not_is_null_and_an_object_is_its_class(json_lines: Lines) -> None:
    import numpy as np

    figures: dict[str, Any] = {"rate": float("nan"), "rows": np.int64(3), "share": np.float32(0.5), "of": Path("s")}
    process_log().info("loaded", **figures)
    (line,) = json_lines()
    assert [line[name] for name in figures] == [None, 3, 0.5, "PosixPath"]


class Telling(dg.ConfigurableResource[object]):
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        run_log(context).info("prepared")


@dg.asset
def telling(context: dg.AssetExecutionContext, resource: Telling) -> None:
    run_log(context).info("quarantined", message_id="an-id", reason="not_json")
    context.log.info("kept by Dagster")


def test_run_s_own_lines_have_its_id_and_step_and_are_not_stored(json_lines: Lines, tmp_path: Path) -> None:
    every_logger = {
        "python_logs": {"managed_python_loggers": ["root"], "python_log_level": "INFO"},
        "telemetry": {"enabled": False},  # the first instance of a HOME says so on stderr
        # As in both dagster.yaml files. With compute logs Dagster sends stderr through a file and `tail`, and kills
        # that at the end of a step, whether it has read the last lines or not: dagster/_core/execution/compute_logs.py
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
    }
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=every_logger) as instance:
        job = dg.Definitions([telling], resources={"resource": Telling()}).resolve_implicit_global_asset_job_def()
        run_id = job.execute_in_process(instance=instance, run_config=quiet).run_id
        kept = str(instance.all_logs(run_id))
    prepared, quarantined = json_lines()
    assert (prepared["event"], prepared["run_id"]) == ("prepared", run_id)
    assert {**quarantined, "timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "quarantined",
        "logger": "login_pipeline",
        "run_id": run_id,
        "step": "telling",
        "message_id": "an-id",
        "reason": "not_json",
    }
    assert "kept by Dagster" in kept
    assert "an-id" not in kept


def test_asset_that_is_called_directly_answers_without_a_run(json_lines: Lines) -> None:
    telling(dg.build_asset_context(), Telling())
    assert [line["run_id"] for line in json_lines() if line["event"] == "quarantined"] == [None]


def test_formatter_needs_nothing_that_a_record_may_lack() -> None:
    line = json.loads(formatter().format(logging.makeLogRecord({"name": "other", "msg": "text", "levelname": "INFO"})))
    assert (line["message"], line["level"], line["run_id"]) == ("text", "info", None)


@pytest.mark.direct_database("PgBouncer does not pass on what the server says while a session begins")
def test_what_libpq_prints_while_it_connects_is_a_line_and_not_its_text(pipeline: Pipeline, tmp_path: Path) -> None:
    """The server warns of a collation, once for each connection; libpq itself of the password file."""
    pipeline.database.query("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = current_database()")
    (tmp_path / "pgpass").write_text("sentinel")
    (tmp_path / "pgpass").chmod(0o644)
    head, _, host = pipeline.database.url.rpartition("@")
    user, _, password = head.rpartition(":")
    pipeline.set(LOGIN_DATABASE_URL=f"{user}@{host}", PGPASSFILE=str(tmp_path / "pgpass"))
    refused = command("prepare")
    pipeline.set(LOGIN_DATABASE_URL=pipeline.database.url, PGPASSFILE=None)
    prepared = command("prepare")
    assert (refused.returncode, prepared.returncode) == (2, 0), prepared.stderr
    assert password not in refused.stderr
    reported = [line.get("warning", "") for line in parsed(refused.stderr) if line["event"] == "c_library"]
    assert [sentence.split(";")[0] for sentence in reported] == [
        "libpq does not use the password file, because others may read it or it is no file"
    ]
    (line,) = [line for line in parsed(prepared.stderr) if line["event"] == "c_library"]
    assert line["warning"].startswith("The collation of a database is of another version than the server's")
