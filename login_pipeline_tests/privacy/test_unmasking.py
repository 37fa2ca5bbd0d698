"""login-pipeline unmask, against a real table."""

import io
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from login_pipeline.cli.main import main
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.request import subject
from login_pipeline.settings import read_settings
from login_pipeline_tests.at_rest import places
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]


@pytest.fixture
def masked(pipeline: Pipeline, body: Body) -> Pipeline:
    pipeline.set(LOGIN_MASKING_METHOD="aes-siv")
    pipeline.queue.send(
        body(user_id="a", ip="192.0.2.1", device_id="one\x1b[31m"),
        body(user_id="a", ip="192.0.2.1", device_id="two"),
        body(user_id="b", ip="192.0.2.2", device_id="three"),
    )
    assert pipeline.run().failures == []
    return pipeline


def unmask(*arguments: str) -> object:
    sys.argv = ["login-pipeline", "unmask", "--by", "jo", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def mask_of(pipeline: Pipeline, user_id: str, column: str = "masked_ip") -> str:
    ((row,),) = pipeline.database.query("SELECT to_jsonb(user_logins) FROM user_logins WHERE user_id = %s", user_id)
    return str(row[column])


def record(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return pipeline.database.query("SELECT reason, masks, unmasked FROM user_logins_unmaskings")


def test_masks_are_turned_back_and_it_is_recorded(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    mask, other = mask_of(masked, "b"), mask_of(masked, "b", "masked_device_id")
    assert unmask(mask, other, "--reason", "ticket 7", "--json") == 0
    assert json.loads(capfd.readouterr().out)["values"] == [
        {"mask": mask, "field": "ip", "value": "192.0.2.2"},
        {"mask": other, "field": "device_id", "value": "three"},
    ]
    assert record(masked) == [("ticket 7", 2, 2)]
    assert masked.database.query(
        "SELECT now() - unmasked_at < '1 minute', database_user = session_user, operator FROM user_logins_unmaskings"
    ) == [(True, True, f"jo ({pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()})")]


def test_whose_the_masks_are_is_recorded_as_in_an_erasure(masked: Pipeline, body: Body) -> None:
    masked.queue.send(body(user_id="c", ip="192.0.2.2"))
    assert masked.run().failures == []
    shared = mask_of(masked, "b")
    assert unmask("--user-id", "a", "--reason", "ticket 7") == 0
    assert unmask(shared, mask_of(masked, "c", "masked_device_id"), "--reason", "ticket 8") == 0
    proof = erase(LoginDatabase(read_settings(), maintenance=True), "a", "ticket 9", "jo")
    key = masking_keys(read_settings()).active
    assert proof.subject == subject(key, "a")
    assert sorted(masked.database.query("SELECT reason, masks, subject FROM user_logins_unmaskings")) == sorted(
        [("ticket 7", 3, subject(key, "a")), ("ticket 8", 2, subject(key, "b")), ("ticket 8", 2, subject(key, "c"))]
    )


@pytest.mark.parametrize("command", [["unmask", "--user-id"], ["forget"]])
def test_root_does_nothing_without_a_person_s_name(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr("sys.argv", ["login-pipeline", *command, "b", "--reason", "ticket 7"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "is no person's user; say with --by who carries this out" in err
    assert record(masked) == masked.database.query("SELECT 1 FROM user_logins_erasures") == []


def test_masks_come_from_stdin(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mask_of(masked, "b").encode() + b"\n")))
    assert unmask("-", "--reason", "ticket 7") == 0
    assert "192.0.2.2" in capfd.readouterr().out


def test_masks_of_a_user_are_each_told_once(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert unmask("--user-id", "a", "--reason", "ticket 8", "--json") == 0
    values = json.loads(capfd.readouterr().out)["values"]
    assert sorted(each["value"] for each in values) == ["192.0.2.1", "one\x1b[31m", "two"]
    assert record(masked) == [("ticket 8", 3, 3)]


def test_value_that_a_sender_wrote_cannot_reach_the_terminal_s_controls(
    masked: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    assert unmask("--user-id", "a", "--reason", "ticket 8") == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert r"one\x1b[31m" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_value_that_the_terminal_s_encoding_lacks_is_recorded_and_shown_escaped(
    masked: Pipeline, body: Body, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked.queue.send(body(user_id="c", device_id="\N{GREEK CAPITAL LETTER OMEGA}"))
    assert masked.run().failures == []
    stdout = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stdout, encoding=encoding))
    assert unmask(mask_of(masked, "c", "masked_device_id"), "--reason", "ticket 7") == 0
    assert rb"\u03a9" in stdout.getvalue()
    assert record(masked) == [("ticket 7", 1, 1)]


def test_value_that_is_unmasked_cannot_be_the_reason(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert unmask(mask_of(masked, "b", "masked_device_id"), "--reason", "three asked") == 2
    assert "three" not in "".join(capfd.readouterr())
    assert record(masked) == []


def test_masks_on_stdin_are_not_taken_for_the_reason(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mask_of(masked, "b").encode() + b"\n")))
    assert unmask("-", "--json") == 2
    assert capfd.readouterr().out == ""
    assert record(masked) == []


def test_nothing_is_shown_where_the_record_was_left_out_without_a_word(
    masked: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    masked.database.query(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER leave_out BEFORE INSERT ON user_logins_unmaskings FOR EACH ROW EXECUTE FUNCTION leave_out()"
    )
    assert unmask(mask_of(masked, "b"), "--reason", "ticket 7") == 1
    out, err = capfd.readouterr()
    assert "192.0.2.2" not in out + err
    assert "took the record without an error and does not have it" in err


def test_user_id_comes_from_stdin_and_is_in_no_statement(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"b\r\n")))
    assert unmask("--user-id", "-", "--reason", "ticket 7") == 0
    assert "192.0.2.2" in capfd.readouterr().out


def test_values_are_shown_on_stdout_and_are_nowhere_else(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [str(Path(sys.executable).parent / "login-pipeline"), "--log-format", "json", "unmask", "--user-id", "a"]
    masked.set(TMPDIR=str(tmp_path), HOME=str(home))
    ended = subprocess.run([*command, "--reason", "ticket 7", "--by", "jo"], capture_output=True, text=True, check=True)
    assert "192.0.2.1" in ended.stdout
    assert "192.0.2.1" not in ended.stderr
    assert [place for place, row in places.rows(masked.database.url) if b"192.0.2.1" in row] == []
    assert [file for file in tmp_path.rglob("*") if file.is_file() and b"192.0.2.1" in file.read_bytes()] == []


def test_user_without_a_row_is_told(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert unmask("--user-id", "nobody", "--reason", "ticket 7") == 1
    assert "No row in user_logins is of this user" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["hmac-sha256", "sha256"])
def test_hash_is_refused_with_the_explanation(
    masked: Pipeline, body: Body, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    masked.set(LOGIN_MASKING_METHOD=method)
    masked.queue.send(body(user_id="c"))
    assert masked.run().failures == []
    assert unmask(mask_of(masked, "c"), "--reason", "ticket 7") == 1
    out, err = capfd.readouterr()
    assert f"1 of the masks stayed as they are: {method} cannot be turned back" in err
    assert mask_of(masked, "c") not in out + err
    assert record(masked) == [("ticket 7", 1, 0)]


def test_nothing_is_shown_where_it_cannot_be_recorded(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    mask = mask_of(masked, "b")
    unmask(mask, "--reason", "the first makes the table")
    capfd.readouterr()
    masked.database.query("ALTER TABLE user_logins_unmaskings ADD CHECK (reason <> 'refused')")
    assert unmask(mask, "--reason", "refused") == 1
    assert "192.0.2.2" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "statement",
    ["UPDATE user_logins_unmaskings SET reason = ''", "DELETE FROM user_logins_unmaskings"],
)
def test_record_is_append_only(masked: Pipeline, statement: str) -> None:
    unmask(mask_of(masked, "b"), "--reason", "ticket 7")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        masked.database.query(statement)
    assert record(masked) == [("ticket 7", 1, 1)]


def test_record_cannot_be_truncated(masked: Pipeline) -> None:
    unmask(mask_of(masked, "b"), "--reason", "ticket 7")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
        masked.database.query("TRUNCATE user_logins_unmaskings")


@pytest.mark.parametrize(
    "arguments",
    [
        ["x", "--reason", " "],
        ["x", "--reason", "\udcff"],
        ["x"],
        ["--reason", "x"],
        ["x", "--user-id", "a", "--reason", "x"],
        ["--user-id", "a", "--reason", "because a asked"],
        ["x", "--reason", "asked from 192.0.2.7"],
    ],
)
def test_question_without_a_reason_or_without_masks_is_refused(masked: Pipeline, arguments: list[str]) -> None:
    assert unmask(*arguments) == 2
    assert record(masked) == []
