"""login-pipeline keys rotate, against a real table."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

import psycopg2
import pytest

from login_pipeline.cli.doctor import examine
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.masking.keys import KeyRing, new_key
from login_pipeline.masking.methods import unmask
from login_pipeline.privacy import key_rotation
from login_pipeline.privacy.key_rotation import Rotated, remaining, rotate, rows_by_key
from login_pipeline_tests.backup.fixtures import Kept, wait_until, waits_for_a_lock
from login_pipeline_tests.conftest import Command
from login_pipeline_tests.exactly_once.stepped_process import KilledError

TODAY = datetime.now(UTC).date()
OLD = KeyRing(new_key(date(2026, 1, 1)))
RING = OLD.rotated(TODAY)


def use(kept: Kept, ring: KeyRing, method: str = "aes-siv") -> None:
    kept.set(LOGIN_MASKING_METHOD=method, LOGIN_MASKING_KEY=",".join(key.written() for key in ring))


@pytest.fixture
def masked(empty: Kept) -> Kept:
    """Two logins from one address, under the old key; the new one is configured."""
    use(empty, OLD)
    empty.log_in(("a", "192.0.2.1", "one"), ("b", "192.0.2.1", "other"))
    use(empty, RING)
    return empty


def rotated(masked: Kept) -> Rotated:
    return rotate(masked.resource, RING)


def masks(kept: Kept, column: str = "masked_ip") -> list[str]:
    rows = kept.query("SELECT to_jsonb(user_logins) FROM user_logins ORDER BY user_id")
    return [row[column] for (row,) in rows]


def many(kept: Kept, rows: int, mask: str) -> None:
    kept.query(
        "INSERT INTO user_logins SELECT 'u' || n, 'ios', %s, %s, NULL, 1, '2026-01-05' FROM generate_series(1, %s) n",
        mask,
        mask,
        rows,
    )


def test_equal_values_match_across_the_rotation_and_nothing_changes_in_the_next(masked: Kept) -> None:
    before = masks(masked, "masked_device_id")
    assert rotated(masked).rows == 2
    masked.log_in(("c", "192.0.2.1", "one"))
    assert len(set(masks(masked))) == 1
    assert {mask.split(".")[0] for mask in masks(masked) + masks(masked, "masked_device_id")} == {RING.active.id}
    after = masks(masked, "masked_device_id")[:2]
    assert [unmask(each, RING) for each in before] == [unmask(each, RING) for each in after]
    assert masked.agrees()
    rows = masked.query("SELECT ctid, * FROM user_logins")
    assert rotated(masked).rows == 0
    assert masked.query("SELECT ctid, * FROM user_logins") == rows


def test_killed_in_the_middle_it_goes_on_the_next_time(masked: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    many(masked, 1_000, masks(masked)[0])
    monkeypatch.setattr("login_pipeline.privacy.key_rotation.BLOCKS_AT_ONCE", 1)
    rotate_blocks, calls = key_rotation._rotate_blocks, count(1)

    def die_at_the_third(*arguments: Any) -> int:
        if next(calls) == 3:
            raise KilledError
        return rotate_blocks(*arguments)

    with monkeypatch.context() as death:
        death.setattr(key_rotation, "_rotate_blocks", die_at_the_third)
        with pytest.raises(KilledError):
            rotated(masked)
    assert rows_by_key(masked.resource).keys() == {f"{OLD.active.id}.siv", f"{RING.active.id}.siv"}
    assert rotated(masked).by_key == {f"{RING.active.id}.siv": 1_002}
    assert len(set(masks(masked))) == 1


def test_rows_of_every_partition_are_rotated(masked: Kept) -> None:
    mask = masks(masked)[0]
    masked.query(
        "ALTER TABLE user_logins RENAME TO earlier; "
        "CREATE TABLE user_logins (LIKE earlier) PARTITION BY RANGE (create_date); "
        "CREATE TABLE early PARTITION OF user_logins FOR VALUES FROM (MINVALUE) TO ('2026-01-01'); "
        "CREATE TABLE late PARTITION OF user_logins FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)"
    )
    many(masked, 3, mask)
    masked.query("INSERT INTO user_logins VALUES ('x', 'ios', %s, %s, NULL, 1, '2025-01-05')", mask, mask)
    masked.query("CREATE PUBLICATION logins FOR TABLE user_logins")
    with pytest.raises(DatabaseError, match="whose rows have no replica identity; run ALTER TABLE user_logins REPLICA"):
        rotated(masked)
    _, _, commands = {each.subject: each.says for each in examine()}["database"].partition("owner run: ")
    assert commands == "ALTER TABLE early REPLICA IDENTITY FULL; ALTER TABLE late REPLICA IDENTITY FULL;"
    masked.query(commands)
    assert rotated(masked).by_key == {f"{RING.active.id}.siv": 4}


def test_backup_and_restore_beside_a_rotation_see_no_damage_and_add_no_row_twice(
    masked: Kept, command: Command
) -> None:
    masked.back_up()
    rotated(masked)
    assert masked.back_up().damaged == {}
    rotate(masked.resource, RING.rotated(TODAY))
    assert command("restore")[0] == 1
    assert len(masked.rows()) == 2
    assert masked.back_up().damaged == {}


def test_restore_after_a_rotation_adds_no_row_beside_one_that_was_masked_again(masked: Kept, command: Command) -> None:
    masked.back_up()
    masked.log_in(("c", "192.0.2.3", "of c"), ("d", "192.0.2.4", "of d"))
    rotated(masked)
    masked.query("DELETE FROM user_logins WHERE user_id IN ('b', 'c', 'd')")
    assert command("restore")[0] == 1
    assert [user for (user, *_) in masked.rows()] == ["a"]


def test_masks_that_cannot_be_rotated_are_left_and_reported(masked: Kept) -> None:
    foreign = KeyRing(new_key(TODAY))
    for user_id, ring, method in (
        ("hmac", OLD, "hmac-sha256"),
        ("sha", RING, "sha256"),
        ("foreign", foreign, "aes-siv"),
    ):
        use(masked, ring, method)
        masked.log_in((user_id, "192.0.2.1", "one"))
    before = masked.query("SELECT * FROM user_logins WHERE user_id IN ('hmac', 'sha', 'foreign')")
    done = rotated(masked)
    sentences = " ".join(remaining(done, RING))
    assert masked.query("SELECT * FROM user_logins WHERE user_id IN ('hmac', 'sha', 'foreign')") == before
    assert done.rows == 2
    assert f"1 rows are masked with hmac-sha256 under {OLD.active.id}, which cannot be turned back" in sentences
    assert "1 rows are masked with sha256, which has no key" in sentences
    assert f"1 rows are masked under {foreign.active.id}, which is not among the masking keys" in sentences


@pytest.mark.parametrize("column", ["masked_ip", "masked_device_id"])
def test_altered_mask_is_left_and_reported(masked: Kept, column: str) -> None:
    masked.query(f"UPDATE user_logins SET {column} = overlay({column} placing 'AAAA' from 40)")  # noqa: S608
    done = rotated(masked)
    assert done.rows == 2  # of each row the other mask
    assert f"2 rows are still masked under {OLD.active.id}" in " ".join(remaining(done, RING))


def test_command_says_what_it_did(masked: Kept, command: Command) -> None:
    code, out, err = command("keys", "rotate")
    assert (code, err) == (0, "")
    assert f"rows_under_{RING.active.id}.siv" in out


def test_rotation_waits_for_a_load_in_the_order_in_which_loads_lock(masked: Kept) -> None:
    """Else each would have what the other one waits for."""
    loading = psycopg2.connect(masked.database.url)
    loading.cursor().execute("LOCK TABLE user_logins_inbox IN SHARE ROW EXCLUSIVE MODE")

    def go_on() -> None:
        wait_until(lambda: waits_for_a_lock(masked))
        loading.cursor().execute("LOCK TABLE user_logins IN SHARE ROW EXCLUSIVE MODE")
        loading.commit()

    with closing(loading), ThreadPoolExecutor(1) as pool:
        gone_on = pool.submit(go_on)
        assert rotated(masked).rows == 2
        gone_on.result()


def test_pruning_leaves_the_marks_of_a_rotation(masked: Kept) -> None:
    rotated(masked)
    for table in ("user_logins", "user_logins_inbox", "user_logins_ledger"):
        masked.query(f"UPDATE {table} SET create_date = '2020-01-01'")  # noqa: S608
    masked.query("UPDATE user_logins_inbox SET loaded_at = '2020-01-02'")
    assert prune_inbox(masked.resource, days=30).keys == 2
    assert masked.agrees()
