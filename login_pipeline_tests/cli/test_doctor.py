"""What doctor says of what is around a run: the backup's place, key, server log, core dumps, ways in clear."""

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from login_pipeline.cli.doctor import Diagnosis, examine
from login_pipeline.masking.keys import new_key
from login_pipeline.masking.masker import NOT_KEYED
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.redis_server import RedisServer


def finding(subject: str) -> Diagnosis:
    return {each.subject: each for each in examine()}[subject]


def test_place_of_the_backup_is_examined_where_there_is_one(pipeline: Pipeline, tmp_path: Path) -> None:
    assert "backup" not in {each.subject for each in examine()}
    folder = tmp_path / "backup"
    pipeline.set(LOGIN_BACKUP_URL=str(folder))
    before = finding("backup")
    assert before.well
    assert before.says.startswith(f"{folder}, to be made in a folder of ")
    assert before.says.endswith("readable and writable; no backup yet")
    assert not folder.exists()
    pipeline.run()
    assert pipeline.run("user_logins_backup_job").passed
    after = finding("backup")
    assert after.says.startswith(f"{folder}, of ")
    assert f"mode 0700, readable and writable; last backup {datetime.now(UTC).year}-" in after.says
    pipeline.database.query("DROP TABLE user_logins_backup")
    LoginDatabase(read_settings()).prepare()  # as in another database
    assert not finding("backup").well
    assert finding("backup").says.startswith("LOGIN_BACKUP_URL holds the backup of another database")


@pytest.mark.parametrize(
    ("place", "says"), [("file", "Not a directory"), ("no/such", "No such file"), ("closed", "Permission denied")]
)
def test_place_where_no_backup_can_be_is_wrong(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, says: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    if place == "closed":  # to root, no folder is
        monkeypatch.setattr(os, "access", lambda *_: False)
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / place))
    assert not finding("backup").well
    assert finding("backup").says.startswith(f"LOGIN_BACKUP_URL={tmp_path / place} cannot be used: {says}")


def test_age_of_the_active_key_is_said_where_it_is_known(pipeline: Pipeline) -> None:
    assert ", of an age that is not written with it" in finding("masking").says
    made_on = datetime.now(UTC).date() - timedelta(days=400)
    pipeline.set(LOGIN_MASKING_KEY=new_key(made_on).written())
    assert finding("masking").says.endswith(", 400 days old")


def test_sha256_works_and_is_not_called_well(pipeline: Pipeline) -> None:
    pipeline.set(LOGIN_MASKING_METHOD="sha256")
    assert finding("masking") == Diagnosis("masking", True, NOT_KEYED, warns=True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"log_min_messages": "warning", "log_error_verbosity": "default"}, "an ERROR quotes rows"),
        ({"log_statement": "all"}, "statements are written there"),
        ({"log_min_duration_statement": "250"}, "statements are written there"),
        ({"log_min_messages": "warning", "log_error_verbosity": "terse"}, None),
        ({"log_min_messages": "log", "log_error_verbosity": "verbose"}, None),
    ],
)
def test_what_the_server_s_log_would_have_at_rest_is_said(
    pipeline: Pipeline, settings: dict[str, str], says: str | None
) -> None:
    quiet = {"log_min_messages": "log", "log_statement": "none", "log_min_duration_statement": "-1"}
    pipeline.database.set_server_log(**quiet | settings)
    log = finding("server log")
    assert (log.well, log.warns) == (True, says is not None)
    assert (says or "no row and no statement is written there") in log.says


def test_program_that_keeps_core_dumps_is_said(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.cli.doctor.dump_taker", lambda: "/bin/keep-core")
    assert finding("core dumps").warns
    assert "/bin/keep-core" in finding("core dumps").says


def test_run_warns_of_what_goes_in_clear_over_the_network(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def warnings() -> str:
        assert pipeline.run().passed
        (run, *_) = pipeline.instance.get_runs(limit=1)
        return "\n".join(event.user_message for event in pipeline.instance.all_logs(run.run_id))

    assert "in clear over the network" not in warnings()
    for module in ("transport_security", "sqs.errors"):
        monkeypatch.setattr(f"login_pipeline.{module}.is_loopback", lambda _host: False)
    found = warnings()
    assert "Rows go in clear over the network to the database; add sslmode=verify-full to LOGIN_DATABASE_URL" in found
    assert "come in clear over the network from http://" in found


def test_redis_that_does_not_respond_is_one_sentence(pipeline: Pipeline) -> None:
    assert "redis" not in {finding.subject for finding in examine()}
    pipeline.set(LOGIN_REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert not finding("redis").well
    assert "LOGIN_REDIS_URL" in finding("redis").says
    assert "secret" not in finding("redis").says
    with closing(RedisServer()) as server:
        pipeline.set(LOGIN_REDIS_URL=server.url)
        assert finding("redis").well
