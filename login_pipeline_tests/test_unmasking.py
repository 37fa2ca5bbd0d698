"""login-pipeline unmask, against a real table."""

import io
import json
import sys
from collections.abc import Callable

import psycopg2
import pytest

from login_pipeline.cli import main
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
    sys.argv = ["login-pipeline", "unmask", *arguments]
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
    ((recent, database_user, operator),) = masked.database.query(
        "SELECT now() - unmasked_at < '1 minute', database_user = session_user, operator FROM user_logins_unmaskings"
    )
    assert (recent, database_user) == (True, True)
    assert "@" in operator


def test_masks_come_from_stdin(
    masked: Pipeline, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(mask_of(masked, "b") + "\n"))
    assert unmask("-", "--reason", "ticket 7") == 0
    assert "192.0.2.2" in capfd.readouterr().out


def test_masks_of_a_user_are_each_told_once(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert unmask("--user-id", "a", "--reason", "asked for by a", "--json") == 0
    values = json.loads(capfd.readouterr().out)["values"]
    assert sorted(each["value"] for each in values) == ["192.0.2.1", "one\x1b[31m", "two"]
    assert record(masked) == [("asked for by a", 3, 3)]


def test_value_that_a_sender_wrote_cannot_reach_the_terminal_s_controls(
    masked: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    assert unmask("--user-id", "a", "--reason", "asked for by a") == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert r"one\x1b[31m" in out


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
    "arguments", [["x", "--reason", " "], ["--reason", "x"], ["x", "--user-id", "a", "--reason", "x"]]
)
def test_question_without_a_reason_or_without_masks_is_refused(masked: Pipeline, arguments: list[str]) -> None:
    assert unmask(*arguments) == 2
    assert record(masked) == []
