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

from login_pipeline.masking.key_source import masking_keys
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.request import subject
from login_pipeline.settings import read_settings
from login_pipeline_tests.at_rest import places
from login_pipeline_tests.backup.fixtures import Kept
from login_pipeline_tests.conftest import Command

Unmask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def masked(empty: Kept) -> Kept:
    empty.set(LOGIN_MASKING_METHOD="aes-siv")
    empty.log_in(("a", "192.0.2.1", "one\x1b[31m"), ("a", "192.0.2.1", "two"), ("b", "192.0.2.2", "three"))
    return empty


@pytest.fixture
def unmask(command: Command) -> Unmask:
    return lambda *arguments: command("unmask", "--by", "jo", *arguments)


def mask_of(kept: Kept, user_id: str, column: str = "masked_ip") -> str:
    ((row,),) = kept.query("SELECT to_jsonb(user_logins) FROM user_logins WHERE user_id = %s", user_id)
    return str(row[column])


def record(kept: Kept) -> list[tuple[object, ...]]:
    return kept.query("SELECT reason, masks, unmasked FROM user_logins_unmaskings ORDER BY unmasked_at")


def test_masks_are_turned_back_and_it_is_recorded(masked: Kept, unmask: Unmask) -> None:
    mask, other = mask_of(masked, "b"), mask_of(masked, "b", "masked_device_id")
    code, out, _ = unmask(mask, other, "--reason", "ticket 7", "--json")
    assert (code, json.loads(out)["values"]) == (
        0,
        [
            {"mask": mask, "field": "ip", "value": "192.0.2.2"},
            {"mask": other, "field": "device_id", "value": "three"},
        ],
    )
    assert record(masked) == [("ticket 7", 2, 2)]
    assert masked.query(
        "SELECT now() - unmasked_at < '1 minute', database_user = session_user, operator FROM user_logins_unmaskings"
    ) == [(True, True, f"jo ({pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()})")]


def test_whose_the_masks_are_is_recorded_as_in_an_erasure(masked: Kept, unmask: Unmask) -> None:
    masked.log_in(("c", "192.0.2.2", "of c"))
    shared = mask_of(masked, "b")
    assert unmask("--user-id", "a", "--reason", "ticket 7")[0] == 0
    assert unmask(shared, mask_of(masked, "c", "masked_device_id"), "--reason", "ticket 8")[0] == 0
    (proof,) = erase(masked.resource, ["a"], "ticket 9", "jo")
    key = masking_keys(read_settings()).active
    assert proof.subject == subject(key, "a")
    assert sorted(masked.query("SELECT reason, masks, subject FROM user_logins_unmaskings")) == sorted(
        [("ticket 7", 3, subject(key, "a")), ("ticket 8", 2, subject(key, "b")), ("ticket 8", 2, subject(key, "c"))]
    )


def test_root_does_nothing_without_a_person_s_name(
    masked: Kept, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    for arguments in (["unmask", "--user-id"], ["forget"]):
        code, out, err = command(*arguments, "b", "--reason", "ticket 7")
        assert (code, out) == (2, "")
        assert "is no person's user; say with --by who carries this out" in err
    assert record(masked) == masked.query("SELECT 1 FROM user_logins_erasures") == []


def test_masks_and_user_ids_come_from_stdin_and_are_not_taken_for_the_reason(
    masked: Kept, unmask: Unmask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_to_stdin(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    for text, arguments in ((f"{mask_of(masked, 'b')}\n", ["-"]), ("b\r\n", ["--user-id", "-"])):
        write_to_stdin(text)
        code, out, _ = unmask(*arguments, "--reason", "ticket 7")
        assert (code, "192.0.2.2" in out) == (0, True)
    recorded = record(masked)
    write_to_stdin(f"{mask_of(masked, 'b')}\n")
    assert unmask("-", "--json")[:2] == (2, "")
    assert record(masked) == recorded


def test_reason_may_have_a_dash_and_no_mask_of_stdin(
    masked: Kept, unmask: Unmask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reason, code in (("ticket 4711 - fraud", 0), (f"about {mask_of(masked, 'b')}", 2)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mask_of(masked, "b").encode())))
        assert unmask("-", "--reason", reason)[0] == code
    assert record(masked) == [("ticket 4711 - fraud", 1, 1)]


def test_masks_of_a_user_are_each_shown_once_and_cannot_reach_the_terminal_s_controls(
    masked: Kept, unmask: Unmask
) -> None:
    code, out, _ = unmask("--user-id", "a", "--reason", "ticket 8", "--json")
    assert code == 0
    assert sorted(each["value"] for each in json.loads(out)["values"]) == ["192.0.2.1", "one\x1b[31m", "two"]
    assert record(masked) == [("ticket 8", 3, 3)]
    _, out, _ = unmask("--user-id", "a", "--reason", "ticket 8")
    assert ("\x1b" in out, r"one\x1b[31m" in out) == (False, True)


def test_value_that_the_terminal_s_encoding_lacks_is_recorded_and_shown_escaped(
    masked: Kept, unmask: Unmask, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked.log_in(("c", "192.0.2.3", "\N{GREEK CAPITAL LETTER OMEGA}"))
    stdout = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stdout, encoding="latin-1"))
    assert unmask(mask_of(masked, "c", "masked_device_id"), "--reason", "ticket 7")[0] == 0
    assert rb"\u03a9" in stdout.getvalue()
    assert record(masked) == [("ticket 7", 1, 1)]


def test_nothing_is_shown_where_it_is_not_recorded(masked: Kept, unmask: Unmask) -> None:
    masked.query("ALTER TABLE user_logins_unmaskings ADD CHECK (reason <> 'refused')")
    code, out, err = unmask(mask_of(masked, "b"), "--reason", "refused")
    assert (code, "192.0.2.2" in out + err) == (1, False)
    masked.query(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
        "CREATE TRIGGER leave_out BEFORE INSERT ON user_logins_unmaskings FOR EACH ROW EXECUTE FUNCTION leave_out()"
    )
    code, out, err = unmask(mask_of(masked, "b"), "--reason", "ticket 7")
    assert (code, "192.0.2.2" in out + err) == (1, False)
    assert "took the record without an error and does not have it" in err


def test_values_are_shown_on_stdout_and_are_nowhere_else(masked: Kept, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [str(Path(sys.executable).parent / "login-pipeline"), "--log-format", "json", "unmask", "--user-id", "a"]
    masked.set(TMPDIR=str(tmp_path), HOME=str(home))
    ended = subprocess.run([*command, "--reason", "ticket 7", "--by", "jo"], capture_output=True, text=True, check=True)
    assert "192.0.2.1" in ended.stdout
    assert "192.0.2.1" not in ended.stderr
    assert [place for place, row in places.rows(masked.database.url) if b"192.0.2.1" in row] == []
    assert [file for file in tmp_path.rglob("*") if file.is_file() and b"192.0.2.1" in file.read_bytes()] == []


def test_hash_is_refused_with_the_explanation(masked: Kept, unmask: Unmask) -> None:
    for method in ("hmac-sha256", "sha256"):
        masked.set(LOGIN_MASKING_METHOD=method)
        masked.log_in((method, "192.0.2.3", "one"))
        code, out, err = unmask(mask_of(masked, method), "--reason", "ticket 7")
        assert code == 1
        assert f"1 of the masks stayed as they are: {method} cannot be turned back" in err
        assert mask_of(masked, method) not in out + err
    assert record(masked) == [("ticket 7", 1, 0)] * 2


def test_record_is_append_only(masked: Kept, unmask: Unmask) -> None:
    unmask(mask_of(masked, "b"), "--reason", "ticket 7")
    for statement in ("UPDATE {} SET reason = ''", "DELETE FROM {}", "TRUNCATE {}"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="append-only"):
            masked.query(statement.format("user_logins_unmaskings"))
    assert record(masked) == [("ticket 7", 1, 1)]


def test_question_without_masks_or_a_reason_that_can_be_kept_is_refused(masked: Kept, unmask: Unmask) -> None:
    for arguments in (
        [mask_of(masked, "b", "masked_device_id"), "--reason", "three asked"],
        ["x", "--reason", " "],
        ["x", "--reason", "\udcff"],
        ["x"],
        ["--reason", "x"],
        ["x", "--user-id", "a", "--reason", "x"],
        ["--user-id", "a", "--reason", "because a asked"],
        ["x", "--reason", "asked from 192.0.2.7"],
    ):
        code, out, err = unmask(*arguments)
        assert (code, "three" in out + err) == (2, False), arguments
    code, _, err = unmask("--user-id", "nobody", "--reason", "ticket 7")
    assert (code, "No row in user_logins is of this user" in err) == (1, True)
    assert record(masked) == []


def test_rows_of_a_subject_are_printed_with_what_was_masked_and_it_is_recorded(masked: Kept, command: Command) -> None:
    code, out, err = command("subject", "a", "--reason", "ticket 7", "--by", "jo")
    assert (code, err) == (0, "")
    rows = sorted(json.loads(out)["rows"], key=lambda row: row["device_id"])
    assert [(row["ip"], row["device_id"]) for row in rows] == [("192.0.2.1", "one\x1b[31m"), ("192.0.2.1", "two")]
    assert {(row["user_id"], row["create_date"], row["locale"], row["app_version"]) for row in rows} == {
        ("a", "2026-01-05", None, 1)
    }
    stored = masked.query("SELECT masked_ip, masked_device_id FROM user_logins WHERE user_id = 'a'")
    assert {(row["masked_ip"], row["masked_device_id"]) for row in rows} == set(stored)
    assert record(masked) == [("ticket 7", 3, 3)]
    key = masking_keys(read_settings()).active
    assert masked.query("SELECT subject FROM user_logins_unmaskings") == [(subject(key, "a"),)]


def test_what_the_method_cannot_turn_back_stays_masked_for_a_subject(masked: Kept, command: Command) -> None:
    masked.set(LOGIN_MASKING_METHOD="hmac-sha256")
    masked.log_in(("c", "192.0.2.3", "of c"), ("a", "192.0.2.3", "hashed"))
    code, out, _ = command("subject", "a", "--reason", "ticket 7", "--by", "jo")
    shown = json.loads(out)
    assert (code, len(shown["rows"])) == (0, 3)
    assert [row["ip"] for row in shown["rows"]].count(None) == 1
    assert list(shown["masks_that_stay"].values()) == [2]
    assert record(masked) == [("ticket 7", 5, 3)]


def test_rows_of_a_subject_are_not_shown_where_it_is_not_recorded(masked: Kept, command: Command) -> None:
    masked.query("ALTER TABLE user_logins_unmaskings ADD CHECK (reason <> 'refused')")
    for arguments, exit_code in ((["a", "--reason", "refused"], 1), (["a", "--reason", "a asked"], 2), (["a"], 2)):
        code, out, err = command("subject", *arguments, "--by", "jo")
        assert (code, out, "192.0.2.1" in err) == (exit_code, "", False)
    code, _, err = command("subject", "nobody", "--reason", "ticket 7", "--by", "jo")
    assert (code, "No row in user_logins is of this user" in err) == (1, True)
