"""100 real messages, one of them malformed, through the commands that a person uses.

REAL_LOGIN_MESSAGES names the file; .ci/run sets it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from login_pipeline.ingest.load import FIRST_ROWS
from login_pipeline_tests.conftest import Pipeline

FILE = os.environ.get("REAL_LOGIN_MESSAGES", "")
COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def login_pipeline(*arguments: str) -> str:
    return subprocess.check_output([COMMAND, *arguments], text=True)  # noqa: S603


def drain() -> dict[str, Any]:
    return dict(json.loads(login_pipeline("drain", "--json")))


def table(pipeline: Pipeline) -> int:
    return len(pipeline.database.logins())


def crash(*_: object) -> None:
    raise RuntimeError("crash between commit and delete")


def test_real_messages_are_loaded_once_each(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    login_pipeline("send", FILE)
    first = drain()
    assert {name: first[name] for name in ("received", "loaded", "duplicates", "quarantined", "deleted")} == {
        "received": 100,
        "loaded": 99,
        "duplicates": 0,
        "quarantined": 1,
        "deleted": 100,
    }
    assert pipeline.queue.count() == 0
    assert table(pipeline) == 99
    (letter,) = pipeline.dead_letter_queue.take_all()
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "missing.user_id"
    login_pipeline("check")  # its exit code says that each check passed

    # The same file again: new messages, new logins, and the same people keep their masks.
    login_pipeline("send", FILE)
    assert drain()["loaded"] == 99
    assert table(pipeline) == 198
    masks = pipeline.database.query(
        "SELECT count(DISTINCT masked_ip), count(DISTINCT masked_device_id) FROM user_logins"
    )
    assert masks == [(99, 99)]
    nulls = pipeline.database.query("SELECT count(*) FROM user_logins WHERE locale IS NULL")
    assert nulls == [(2 * 29,)]

    # A run that dies between commit and delete: SQS delivers the loaded messages again, and no row is new.
    login_pipeline("send", FILE)
    with monkeypatch.context() as dying:
        dying.setattr("login_pipeline.sqs.queue.SqsQueue.delete", crash)
        assert pipeline.run().failures
    committed = table(pipeline) - 198
    assert committed >= FIRST_ROWS  # its first transaction, and the next, beside which they were to be deleted
    redelivered = drain()
    assert (redelivered["loaded"], redelivered["duplicates"]) == (99 - committed, committed)
    assert table(pipeline) == 297
    assert pipeline.queue.count() == 0
    login_pipeline("check")
