"""The login-pipeline command: its exit codes, and the one sentence that a person gets."""

import bz2
import gzip
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from login_pipeline.cli.drain import Totals, drain
from login_pipeline.cli.runs import Run, run
from login_pipeline.definitions import defs
from login_pipeline.local.ports import wait_until
from login_pipeline.masking.masker import NOT_KEYED
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline_tests.conftest import Command, Pipeline
from login_pipeline_tests.faults.drain_process import drain as in_a_process
from login_pipeline_tests.faults.sqs_proxy import Answer, Forward, SqsProxy

Body = Callable[..., str]


LINES = '{"a": 1}\n{"b": 2}\n'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"a": 1}, {"b": 2}]', "the file is one JSON array; make a line of each message, as by: jq -c '.[]' FILE"),
        (b'\n[\n  {"a": 1},\n  {"b": 2}\n]\n', "the file is one JSON array"),
        (b'{\n  "a": 1\n}\n{\n  "b": 2\n}\n', "its JSON objects span several lines; make a line of each"),
        (b'\xef\xbb\xbf{"a":\r\n1}', "its JSON objects span several lines"),
        (LINES.encode("utf-16"), "the file is in UTF-16 or no text; convert it, as by: iconv"),
        (LINES.encode("utf-16-le"), "the file is in UTF-16 or no text"),
        (gzip.compress(LINES.encode(), mtime=0), "the file is compressed (gzip); decompress it"),
        (bz2.compress(LINES.encode()), "the file is compressed (bzip2)"),
        (lzma.compress(LINES.encode()), "the file is compressed (xz)"),
    ],
)
def test_file_that_is_no_file_of_lines_is_a_sentence_and_nothing_is_sent(
    pipeline: Pipeline, command: Command, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "logins.json").write_bytes(content)
    code, out, err = command("send", str(tmp_path / "logins.json"))
    assert (code, out) == (2, "")
    assert err.startswith(f"Nothing was sent: {says}")
    assert pipeline.queue.count() == 0


@pytest.mark.parametrize(
    ("content", "bodies"),
    [
        (b'{"a":  1}\n\nnot json\r\n{"last": true}', ["not json", '{"a":  1}', '{"last": true}']),
        (LINES.encode("utf-8-sig"), ['{"a": 1}', '{"b": 2}']),
        (b"\n \n" + LINES.replace("\n", "\r\n").encode() + b"\n\r\n", ['{"a": 1}', '{"b": 2}']),
        (b'{"a": 1\n{"b": 2}\n', ['{"a": 1', '{"b": 2}']),
    ],
    ids=["any text", "byte order mark", "blank lines and CR", "first line cut short"],
)
def test_lines_of_a_file_are_sent_exactly_as_they_are(
    pipeline: Pipeline, command: Command, tmp_path: Path, content: bytes, bodies: list[str]
) -> None:
    (tmp_path / "logins.jsonl").write_bytes(content)
    assert command("send", str(tmp_path / "logins.jsonl")) == (0, f"{len(bodies)} messages sent\n", "")
    assert sorted(message["Body"] for message in pipeline.queue.take_all()) == bodies


def test_line_that_cannot_be_sent_is_named_and_the_others_are_sent(
    pipeline: Pipeline, command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "logins.jsonl"
    file.write_bytes(b"good\n\xff\xfe\ngood too\n")
    assert command("send", str(file)) == (1, "2 messages sent\n", "line 2 was not sent: it is not UTF-8\n")
    assert pipeline.queue.count() == 2


@pytest.mark.parametrize("arguments", [(), ("file", "--sample", "3"), ("--sample", "0"), ("no-such-file",)])
def test_send_says_what_it_takes(command: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, out, err = command("send", *(str(file) if word == "file" else word for word in arguments))
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: ")


def test_drain_prints_exactly_one_json_object(pipeline: Pipeline, command: Command) -> None:
    assert command("send", "--sample", "50") == (0, "50 messages sent\n", "")
    code, out, _ = command("drain", "--json")
    figures = json.loads(out)
    assert figures.pop("seconds") > 0
    assert (code, figures) == (
        0,
        {"runs": 1, "received": 50, "loaded": 48, "duplicates": 0, "quarantined": 2, "deleted": 50},
    )
    assert pipeline.queue.count() == 0
    code, out, _ = command("check", "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)


def test_drain_runs_until_the_queue_is_empty(pipeline: Pipeline, command: Command, body: Body) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=15)
    pipeline.queue.send(*(body() for _ in range(31)))
    code, out, _ = command("drain", "--json")
    assert code == 0
    assert json.loads(out)["runs"] == 3
    assert len(pipeline.database.logins()) == 31


def test_drain_waits_for_messages_that_another_consumer_holds_and_does_not_take_it_for_silence(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.cli.drain.COUNTS_LAG", 0.5)
    monkeypatch.setattr("login_pipeline.cli.drain.POLL_SECONDS", 0.2)
    pipeline.queue.send(body())
    (held,) = pipeline.queue.client.receive_message(QueueUrl=pipeline.queue.url, VisibilityTimeout=600)["Messages"]
    looks: list[float] = []

    def release_after_a_while(totals: Totals, depth: QueueDepth) -> None:
        if totals.runs == 1 and depth.in_flight:
            looks.append(time.monotonic())
            if looks[-1] > looks[0] + 1:
                pipeline.queue.client.change_message_visibility(
                    QueueUrl=pipeline.queue.url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0
                )

    totals = drain(read_settings(), pipeline.instance, release_after_a_while)
    assert (totals.loaded, totals.failures) == (1, [])


def test_drain_ends_after_its_run_where_the_exception_of_a_signal_was_lost(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_through_a_signal(*arguments: Any) -> Run:
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        return run(*arguments)

    monkeypatch.setattr("login_pipeline.cli.drain.run", run_through_a_signal)
    with pytest.raises(KeyboardInterrupt):
        drain(read_settings(), pipeline.instance, lambda *_: None)
    assert len(pipeline.instance.get_runs()) == 1


def started_run(pipeline: Pipeline) -> dg.DagsterRun:
    return pipeline.instance.create_run_for_job(defs.resolve_job_def("login_job"), status=dg.DagsterRunStatus.STARTED)


def test_drains_at_once_do_not_wait_for_each_other(pipeline: Pipeline) -> None:
    """The other one's run is at work as this one's runs dry, and loads what it has."""
    other = started_run(pipeline)

    def end_the_other_run(totals: Totals, _depth: QueueDepth) -> None:
        if totals.runs == 1:
            event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, "login_job")
            pipeline.instance.report_dagster_event(event, other.run_id)

    assert drain(read_settings(), pipeline.instance, end_the_other_run).runs == 1


def test_drain_waits_for_another_run_and_takes_what_it_gave_back_although_counts_lag(
    pipeline: Pipeline, body: Body
) -> None:
    def lag(content: dict[str, Any], forward: Forward) -> Answer:
        answer = forward(content)
        attributes = answer.content["Attributes"]
        attributes.update({name: "0" for name in attributes if name.startswith("ApproximateNumberOf")})
        return answer

    other = started_run(pipeline)
    pipeline.queue.send(body())
    (held,) = pipeline.queue.client.receive_message(QueueUrl=pipeline.queue.url, VisibilityTimeout=600)["Messages"]

    def fail_the_other_run(totals: Totals, _depth: QueueDepth) -> None:
        if totals.runs == 1:
            pipeline.queue.client.change_message_visibility(
                QueueUrl=pipeline.queue.url, ReceiptHandle=held["ReceiptHandle"], VisibilityTimeout=0
            )
            pipeline.instance.report_run_failed(other)

    with SqsProxy(pipeline.environment["AWS_ENDPOINT_URL_SQS"]) as proxy:
        proxy.on("GetQueueAttributes", lag)
        pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
        assert drain(read_settings(), pipeline.instance, fail_the_other_run).loaded == 1


def test_error_that_nobody_foresaw_is_its_class_and_place_and_not_what_it_says(
    pipeline: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("sentinel")

    monkeypatch.setattr("login_pipeline.cli.main.redrive", fail)
    code, _, err = command("redrive")
    assert code == 1
    assert err.startswith("It failed unexpectedly: ValueError at ")
    assert err.endswith(" in fail\n")
    assert "sentinel" not in err


def test_check_ends_with_exit_code_1_when_a_check_fails(pipeline: Pipeline, command: Command, body: Body) -> None:
    pipeline.queue.send(body())
    pipeline.run()
    pipeline.database.query("UPDATE user_logins SET masked_ip = '192.0.2.1'")
    code, out, _ = command("check")
    assert code == 1
    assert "FAILED  rows_hold_no_ip_in_clear  rows_with_an_ip_in_clear: 1" in out
    assert "192.0.2.1" not in out


WRONG = [
    ({"LOGIN_QUEUE_URL": None}, "LOGIN_QUEUE_URL is not set; for example"),
    ({"LOGIN_QUEUE_URL": "{queue}-not-there"}, "LOGIN_QUEUE_URL names a queue that does not exist"),
    ({"LOGIN_DATABASE_URL": None}, "LOGIN_DATABASE_URL is not set; for example"),
    ({"LOGIN_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/c"}, "The database in LOGIN_DATABASE_URL cannot be used"),
    ({"LOGIN_MASKING_KEY": None}, "LOGIN_MASKING_KEY is not set; for example"),
    ({"LOGIN_MASKING_KEY": "changeme"}, "LOGIN_MASKING_KEY is not hexadecimal"),
    ({"LOGIN_BATCH_SIZE": "many"}, "LOGIN_BATCH_SIZE: "),
    ({"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}, "SQS does not answer at http://127.0.0.1:9"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG)
def test_wrong_configuration_is_exit_code_2_and_one_sentence_and_nothing_is_received(
    pipeline: Pipeline, command: Command, body: Body, settings: dict[str, str | None], sentence: str
) -> None:
    pipeline.queue.send(body())
    pipeline.set(**{name: value and value.format(queue=pipeline.queue.url) for name, value in settings.items()})
    code, out, err = command("drain", "--json")
    assert (code, out) == (2, "")
    assert err.startswith(sentence)
    assert len(err.splitlines()) == 1
    (message,) = pipeline.queue.take_all()
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


@pytest.mark.parametrize("home", ["/no/such/folder", "relative"])
def test_wrong_dagster_home_is_exit_code_2(pipeline: Pipeline, command: Command, home: str) -> None:
    pipeline.set(DAGSTER_HOME=home)
    code, _, err = command("drain")
    assert code == 2
    assert err.startswith(f"DAGSTER_HOME={home} does not hold a Dagster instance")
    assert len(err.splitlines()) == 1


def test_check_of_a_table_that_is_not_there_is_exit_code_2(pipeline: Pipeline, command: Command) -> None:
    code, _, err = command("check")
    assert (code, err.split(";")[0]) == (
        2,
        "LOGIN_DATABASE_URL has not all of user_logins and the tables beside it yet",
    )


def test_doctor_finds_all_well_and_changes_nothing(
    pipeline: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.database.set_server_log(log_min_messages="log", log_statement="none", log_min_duration_statement="-1")
    monkeypatch.setattr("login_pipeline.cli.doctor.dump_taker", lambda: None)
    code, out, _ = command("doctor")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["well"] * 7
    assert pipeline.environment["LOGIN_MASKING_KEY"] not in out
    assert pipeline.database.query("SELECT to_regclass('user_logins')") == [(None,)]


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"LOGIN_BATCH_SIZE": "many"}, ["WRONG  settings  LOGIN_BATCH_SIZE: "]),
        ({"LOGIN_QUEUE_URL": "{}-not-there", "LOGIN_MASKING_KEY": None}, ["WRONG  login queue ", "WRONG  masking "]),
    ],
)
def test_doctor_finds_each_thing_that_is_wrong_on_its_own(
    pipeline: Pipeline, command: Command, settings: dict[str, str | None], wrong: list[str]
) -> None:
    pipeline.set(**{name: value and value.format(pipeline.queue.url) for name, value in settings.items()})
    code, out, _ = command("doctor")
    assert code == 2
    found = [line for line in out.splitlines() if line.startswith("WRONG")]
    assert [line[: len(beginning)] for line, beginning in zip(found, wrong, strict=True)] == wrong


def test_ctrl_c_is_exit_code_130_and_the_messages_are_released(pipeline: Pipeline, body: Body, tmp_path: Path) -> None:
    """SIGTERM, in every state of a drain: faults/test_interrupted_runs.py."""
    LoginDatabase(read_settings()).prepare()
    pipeline.database.query(  # so that the run is at its load when it is interrupted
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$; "
        "CREATE TRIGGER slow BEFORE INSERT ON user_logins FOR EACH ROW WHEN (NEW.user_id NOT LIKE 'check %') "
        "EXECUTE FUNCTION slow()"
    )
    pipeline.set(LOGIN_LOG_FORMAT="json")
    pipeline.queue.send(*(body() for _ in range(5)))
    with in_a_process(tmp_path) as process:
        assert wait_until(lambda: pipeline.queue.depth() == (0, 5), seconds=60)
        process.signal(signal.SIGINT)
        process.wait()
    lines = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    (released,) = (line for line in lines if line["event"] == "released")
    assert (released["messages"], released["not_taken"], process.exit_code) == (5, {}, 130)
    assert lines[-1]["error"] == "Interrupted; what the run held is back on the queue."


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_follows_the_sentence_of_an_interrupt(log_format: str) -> None:
    code = """
import sys
from login_pipeline.cli import main

class CutOff:
    def __init__(self): raise KeyboardInterrupt
    def __del__(self): self.never_set.close()

def examine(): half_made = CutOff.__new__(CutOff); half_made.__init__()

main.examine = examine
sys.argv = ["login-pipeline", "--log-format", sys.argv[1], "doctor"]
main.main()
"""
    ended = subprocess.run([sys.executable, "-c", code, log_format], text=True, capture_output=True, check=False)
    lines = ended.stderr.split("\n")  # click's empty one is the first
    assert (ended.returncode, len(list(filter(None, lines)))) == (130, 1), ended.stderr


def test_check_that_warns_is_shown_and_ends_with_exit_code_0(pipeline: Pipeline, command: Command, body: Body) -> None:
    pipeline.queue.send(body())
    pipeline.run()
    code, out, err = command("check")
    assert (code, err) == (0, "")
    assert "warns   rows_share_their_group_with_others  k: 5, groups: 1, smallest_group: 1" in out
    code, out, _ = command("check", "--json")
    checked = json.loads(out)
    assert (code, checked["passed"]) == (0, True)
    severities = {check["name"]: check["severity"] for check in checked["checks"] if not check["passed"]}
    assert severities == {"rows_share_their_group_with_others": "WARN"}


@pytest.mark.parametrize("name", ["drain", "dev"])
def test_masks_that_need_a_key_are_said_at_the_start(
    pipeline: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("login_pipeline.cli.main.dev", lambda *_: 0)
    monkeypatch.setattr("login_pipeline.cli.drain.drain", lambda *_: Totals())
    assert command(name)[2] == ""
    pipeline.set(LOGIN_MASKING_METHOD="sha256")
    code, _, err = command(name)
    assert (code, err) == (0, f"{NOT_KEYED}\n")


@pytest.mark.parametrize("group", [[], ["keys"]], ids=["all commands", "keys"])
def test_help_shows_the_whole_first_sentence_of_each_command(command: Command, group: list[str]) -> None:
    commands = command(*group, "--help")[1].partition("Commands:\n")[2].splitlines()
    assert commands
    assert [line for line in commands if not line.endswith(".") or line.endswith("...")] == []


def test_help_has_no_markup_of_click_s_in_it_and_imports_neither_dagster_nor_pandas() -> None:
    """Each takes a second and more."""
    code = (
        "import sys; from login_pipeline.cli.main import cli; cli(['-h'], standalone_mode=False); print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Exit codes: 0 done; 1 a run or a check failed;" in shown
    assert "\\b" not in shown
    assert {"dagster", "pandas"} & set(shown.split()) == set()
