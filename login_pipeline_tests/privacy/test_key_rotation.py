"""login-pipeline keys rotate, against a real table."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from login_pipeline.backup.export import back_up
from login_pipeline.backup.store import backup_store
from login_pipeline.cli.doctor import examine
from login_pipeline.cli.main import main
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.masking.keys import KeyRing, new_key
from login_pipeline.masking.methods import unmask
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.key_rotation import remaining, rotate, rows_by_key
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Pipeline

Body = Callable[..., str]
TODAY = datetime.now(UTC).date()
OLD = KeyRing(new_key(date(2026, 1, 1)))
RING = OLD.rotated(TODAY)


def use(pipeline: Pipeline, ring: KeyRing, method: str = "aes-siv") -> None:
    pipeline.set(LOGIN_MASKING_METHOD=method, LOGIN_MASKING_KEY=",".join(key.written() for key in ring))


@pytest.fixture
def masked(pipeline: Pipeline, body: Body) -> Pipeline:
    """Two logins from one address, under the old key; the new one is configured."""
    use(pipeline, OLD)
    pipeline.queue.send(body(user_id="a", ip="192.0.2.1"), body(user_id="b", ip="192.0.2.1", device_id="other"))
    assert pipeline.run().failures == []
    use(pipeline, RING)
    return pipeline


def masks(pipeline: Pipeline, column: str = "masked_ip") -> list[str]:
    rows = pipeline.database.query("SELECT to_jsonb(user_logins) FROM user_logins ORDER BY user_id")
    return [row[column] for (row,) in rows]


def many(database: Any, rows: int, mask: str) -> None:
    database.query(
        "INSERT INTO user_logins SELECT 'u' || n, 'ios', %s, %s, NULL, 1, '2026-01-05' FROM generate_series(1, %s) n",
        mask,
        mask,
        rows,
    )


def test_equal_values_match_across_the_rotation(masked: Pipeline, body: Body) -> None:
    before = masks(masked, "masked_device_id")
    rotated = rotate(LoginDatabase(read_settings()), RING)
    masked.queue.send(body(user_id="c", ip="192.0.2.1"))
    assert masked.run().failures == []
    assert rotated.rows == 2
    assert len(set(masks(masked))) == 1
    assert {mask.split(".")[0] for mask in masks(masked) + masks(masked, "masked_device_id")} == {RING.active.id}
    after = masks(masked, "masked_device_id")[:2]
    assert [unmask(each, RING) for each in before] == [unmask(each, RING) for each in after]
    assert masked.run("user_logins_checks_job").passed


def test_rotated_again_nothing_changes(masked: Pipeline) -> None:
    rotate(LoginDatabase(read_settings()), RING)
    before = masked.database.query("SELECT ctid, * FROM user_logins")
    assert rotate(LoginDatabase(read_settings()), RING).rows == 0
    assert masked.database.query("SELECT ctid, * FROM user_logins") == before


def test_killed_in_the_middle_it_goes_on_the_next_time(masked: Pipeline) -> None:
    many(masked.database, 60_000, masks(masked)[0])
    command = [str(Path(sys.executable).parent / "login-pipeline"), "keys", "rotate"]
    with subprocess.Popen(command, env=dict(os.environ)) as begun:
        try:
            _wait(lambda: rows_by_key(LoginDatabase(read_settings())).get(f"{RING.active.id}.siv", 0) > 0)
        finally:
            begun.kill()
    half = rows_by_key(LoginDatabase(read_settings()))
    assert half.get(f"{OLD.active.id}.siv", 0) > 0
    assert rotate(LoginDatabase(read_settings()), RING).by_key == {f"{RING.active.id}.siv": 60_002}
    assert len(set(masks(masked))) == 1


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_rows_of_every_partition_are_rotated(masked: Pipeline) -> None:
    mask = masks(masked)[0]
    masked.database.query(
        "DROP TABLE user_logins; "
        "CREATE TABLE user_logins (user_id varchar(128), device_type varchar(32), masked_ip varchar(256), "
        "masked_device_id varchar(256), locale varchar(32), app_version integer, create_date date) "
        "PARTITION BY RANGE (create_date); "
        "CREATE TABLE early PARTITION OF user_logins FOR VALUES FROM (MINVALUE) TO ('2026-01-01'); "
        "CREATE TABLE late PARTITION OF user_logins FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)"
    )
    many(masked.database, 3, mask)
    masked.database.query("INSERT INTO user_logins VALUES ('x', 'ios', %s, %s, NULL, 1, '2025-01-05')", mask, mask)
    masked.database.query("CREATE PUBLICATION logins FOR TABLE user_logins")
    with pytest.raises(DatabaseError, match="whose rows have no replica identity; run ALTER TABLE user_logins REPLICA"):
        rotate(LoginDatabase(read_settings()), RING)
    _, _, commands = {each.subject: each.says for each in examine()}["database"].partition("owner run: ")
    assert commands == "ALTER TABLE early REPLICA IDENTITY FULL; ALTER TABLE late REPLICA IDENTITY FULL;"
    masked.database.query(commands)
    assert rotate(LoginDatabase(read_settings()), RING).by_key == {f"{RING.active.id}.siv": 4}


def test_backup_after_a_rotation_takes_the_new_masks_and_not_for_damage(masked: Pipeline, tmp_path: Any) -> None:
    masked.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    back_up(LoginDatabase(read_settings()), backup_store(read_settings()))
    rotate(LoginDatabase(read_settings()), RING)
    assert back_up(LoginDatabase(read_settings()), backup_store(read_settings())).damaged == {}


@pytest.mark.parametrize("altered", ["rows", "nothing"])
def test_restore_from_a_backup_before_the_rotation_adds_no_row_twice(
    masked: Pipeline, tmp_path: Any, altered: str
) -> None:
    masked.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    back_up(LoginDatabase(read_settings()), backup_store(read_settings()))
    rotate(LoginDatabase(read_settings()), RING)
    if altered == "rows":
        masked.database.query("DELETE FROM user_logins WHERE user_id = 'a'")
    code = _main("restore")
    assert len(masked.database.logins()) == (1 if altered == "rows" else 2)
    assert code == 1


def _main(*arguments: str) -> object:
    sys.argv = ["login-pipeline", *arguments]
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_masks_that_cannot_be_rotated_are_left_and_told(masked: Pipeline, body: Body) -> None:
    use(masked, OLD, "hmac-sha256")
    masked.queue.send(body(user_id="hmac"))
    masked.run()
    use(masked, RING, "sha256")
    masked.queue.send(body(user_id="sha"))
    masked.run()
    foreign = KeyRing(new_key(TODAY))
    use(masked, foreign)
    masked.queue.send(body(user_id="foreign"))
    masked.run()
    before = masked.database.query("SELECT * FROM user_logins WHERE user_id IN ('hmac', 'sha', 'foreign')")
    rotated = rotate(LoginDatabase(read_settings()), RING)
    sentences = " ".join(remaining(rotated, RING))
    assert masked.database.query("SELECT * FROM user_logins WHERE user_id IN ('hmac', 'sha', 'foreign')") == before
    assert rotated.rows == 2
    assert f"1 rows are masked with hmac-sha256 under {OLD.active.id}, which cannot be turned back" in sentences
    assert "1 rows are masked with sha256, which has no key" in sentences
    assert f"1 rows are masked under {foreign.active.id}, which is not among the masking keys" in sentences


@pytest.mark.parametrize("column", ["masked_ip", "masked_device_id"])
def test_altered_mask_is_left_and_told(masked: Pipeline, column: str) -> None:
    masked.database.query(f"UPDATE user_logins SET {column} = overlay({column} placing 'AAAA' from 40)")  # noqa: S608
    rotated = rotate(LoginDatabase(read_settings()), RING)
    assert rotated.rows == 2  # of each row the other mask
    assert f"2 rows are still masked under {OLD.active.id}" in " ".join(remaining(rotated, RING))


def test_command_says_what_it_did(masked: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert _main("keys", "rotate") == 0
    out, err = capfd.readouterr()
    assert f"rows_under_{RING.active.id}.siv" in out
    assert err == ""


def test_restore_after_a_rotation_adds_no_row_beside_one_that_was_masked_again(
    masked: Pipeline, body: Body, tmp_path: Path
) -> None:
    masked.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    back_up(LoginDatabase(read_settings()), backup_store(read_settings()))
    masked.queue.send(body(user_id="c"), body(user_id="d"))
    assert masked.run().failures == []
    rotate(LoginDatabase(read_settings()), RING)
    masked.database.query("DELETE FROM user_logins WHERE user_id IN ('b', 'c', 'd')")
    assert _main("restore") == 1
    assert [user for (user, *_) in masked.database.logins()] == ["a"]


def test_backup_after_a_rotation_and_a_restore_sees_no_damage(masked: Pipeline, tmp_path: Path) -> None:
    masked.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    rotate(LoginDatabase(read_settings()), RING)
    back_up(LoginDatabase(read_settings()), backup_store(read_settings()))
    rotate(LoginDatabase(read_settings()), RING.rotated(TODAY))
    _main("restore")
    assert back_up(LoginDatabase(read_settings()), backup_store(read_settings())).damaged == {}


def test_rotation_waits_for_a_load_in_the_order_in_which_loads_lock(masked: Pipeline) -> None:
    """Else each would have what the other one waits for."""
    loading = psycopg2.connect(masked.database.url)
    loading.cursor().execute("LOCK TABLE user_logins_inbox IN SHARE ROW EXCLUSIVE MODE")

    def go_on() -> None:
        _wait(lambda: bool(masked.database.query("SELECT 1 FROM pg_locks WHERE NOT granted")))
        loading.cursor().execute("LOCK TABLE user_logins IN SHARE ROW EXCLUSIVE MODE")
        loading.commit()

    with closing(loading), ThreadPoolExecutor(1) as pool:
        gone_on = pool.submit(go_on)
        assert rotate(LoginDatabase(read_settings()), RING).rows == 2
        gone_on.result()


def test_pruning_leaves_the_marks_of_a_rotation(masked: Pipeline) -> None:
    rotate(LoginDatabase(read_settings()), RING)
    for table in ("user_logins", "user_logins_inbox", "user_logins_ledger"):
        masked.database.query(f"UPDATE {table} SET create_date = '2020-01-01'")  # noqa: S608
    masked.database.query("UPDATE user_logins_inbox SET loaded_at = '2020-01-02'")
    assert prune_inbox(LoginDatabase(read_settings()), days=30).keys == 2
    assert masked.run("user_logins_checks_job").passed
