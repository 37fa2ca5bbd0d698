"""Backups: what is in them, what is written again, and what no backup may overwrite."""

import json
import os
import sys
from datetime import date
from itertools import count
from pathlib import Path
from typing import IO

import dagster as dg
import pyarrow.parquet as pq
import pytest

from login_pipeline.backup import identity
from login_pipeline.backup import parquet as files
from login_pipeline.backup.parquet import KEYS, ROWS
from login_pipeline.backup.store import FolderStore
from login_pipeline.defs.backup import user_logins_backup_schedule
from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.postgres.tables import Table
from login_pipeline_tests.backup.fixtures import IP, MONDAY, TUESDAY, Kept
from login_pipeline_tests.conftest import Command, Database
from login_pipeline_tests.exactly_once.stepped_process import KilledError
from login_pipeline_tests.roles import PASSWORD, with_role

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def test_every_date_is_a_file_of_rows_and_one_of_keys_in_the_table_s_columns(kept: Kept) -> None:
    done = kept.back_up()
    assert (done.dates, done.rows, done.keys, done.files_written) == (3, 8, 6, 8)
    assert [each.create_date for each in kept.manifest.dates] == [MONDAY, TUESDAY, None]
    stored = []
    for each in kept.manifest.dates:
        rows, keys = (pq.read_table(kept.folder / file.name) for file in (each.rows, each.keys))
        assert rows.schema.equals(ROWS)
        assert keys.schema.equals(KEYS)
        assert rows.num_rows == each.rows.count
        stored += [tuple(row.values()) for row in rows.to_pylist()]
    assert sorted(stored, key=repr) == kept.rows()


def test_only_what_changed_is_written_again(kept: Kept) -> None:
    kept.back_up()
    before = {each.create_date: each for each in kept.manifest.dates}
    assert kept.back_up().files_written == 0
    kept.load([("new", "ios", "m", "m", None, 1, TUESDAY)], "later")
    done = kept.back_up()
    after = {each.create_date: each for each in kept.manifest.dates}
    assert (done.files_written, done.files_removed) == (2, 2)
    assert after[MONDAY] == before[MONDAY]
    assert after[TUESDAY].rows.count == 3
    assert kept.back_up(every_date=True).files_written == 6  # an audit table has no date
    kept.query("DELETE FROM user_logins_inbox WHERE create_date = %s", TUESDAY)  # as when its keys are pruned
    kept.query("INSERT INTO user_logins_ledger VALUES (%s, 'pruned', 3)", TUESDAY)
    assert kept.back_up().files_written == 1
    kept.query("INSERT INTO user_logins_unmaskings (operator, reason, masks, unmasked) VALUES ('jo', '4711', 2, 1)")
    done = kept.back_up()
    assert (done.files_written, done.files_removed) == (1, 1)


def test_files_are_for_this_user_only_and_what_no_manifest_names_is_removed_if_it_is_ours(kept: Kept) -> None:
    kept.back_up()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (kept.folder, *kept.folder.iterdir()))
    ours = f"user_logins-2020-01-01-{'0' * 64}.parquet"
    for name in (ours, f".incoming-{ours}", "someone-else.parquet"):
        (kept.folder / name).touch()
    kept.back_up()
    named = {file.name for file in kept.manifest.files}
    assert {path.name for path in kept.folder.iterdir()} == named | {"manifest.json", "someone-else.parquet"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("TRUNCATE user_logins, user_logins_inbox", "rows fewer than in the backup"),
        ("DELETE FROM user_logins WHERE user_id = 'no locale'", "1 rows fewer"),
        ("UPDATE user_logins SET locale = 'XX' WHERE user_id = 'no locale'", "rows were altered"),
        ("DELETE FROM user_logins_inbox WHERE message_id = 'id-0'", "4 rows where 3 are expected"),
        ("DROP TABLE user_logins_inbox", "its keys were lost"),
    ],
)
def test_damaged_date_keeps_its_backup_and_the_others_are_backed_up(kept: Kept, damage: str, reason: str) -> None:
    kept.back_up()
    before = {each.create_date: each for each in kept.manifest.dates}
    kept.query(damage)
    kept.resource.prepare()
    kept.load([("new", "ios", "m", "m", None, 1, date(2026, 1, 7))], "later")
    with pytest.raises(BackupError, match=reason):
        kept.back_up()
    after = {each.create_date: each for each in kept.manifest.dates}
    assert after[MONDAY] == before[MONDAY]
    assert after[date(2026, 1, 7)].rows.count == 1


@pytest.mark.parametrize(
    ("change", "in_backup", "reason"),
    [
        ("DELETE FROM user_logins WHERE locale = 'FR'", False, "2 rows where 4 are expected"),
        ("DELETE FROM user_logins WHERE locale = 'FR'", True, "2 rows fewer than in the backup"),
        ("DELETE FROM user_logins_inbox WHERE message_id = 'id-0'", True, "4 rows where 3 are expected"),
    ],
)
def test_loss_is_refused_and_once_accepted_check_backup_and_restore_agree(
    kept: Kept, other: Database, *, change: str, in_backup: bool, reason: str
) -> None:
    if in_backup:
        kept.back_up()
    kept.query(change)
    with pytest.raises(BackupError, match=f"2026-01-05: {reason}"):
        kept.back_up()
    assert not kept.agrees()
    assert kept.back_up(accept_losses=True).damaged == {}
    assert kept.agrees()
    assert kept.back_up().files_written == 0
    assert kept.restore().touched == []
    left, keys = kept.rows(), kept.keys()
    kept.move_to(other)
    assert kept.restore().total("rows_added") == len(left)
    assert (kept.rows(), kept.keys()) == (left, keys)
    assert kept.agrees()


def test_accepted_loss_whose_backup_was_cut_off_is_no_damage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.back_up()
    kept.query("DELETE FROM user_logins WHERE user_id = 'no locale'")

    def fail(*_: object) -> None:
        raise BackupError("cut off")

    with monkeypatch.context() as cut:
        cut.setattr(FolderStore, "put", fail)
        with pytest.raises(BackupError, match="cut off"):
            kept.back_up(accept_losses=True)
    assert kept.agrees()
    assert kept.back_up().damaged == {}
    assert kept.manifest.dates[0].rows.count == 3


def test_backup_sees_what_was_committed_before_its_turn(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the erasures of the backup before it."""

    def load_and_take_turn(cursor: InterruptibleCursor) -> None:
        kept.load([("new", "ios", "m", "m", None, 1, TUESDAY)], "new")
        identity.take_turn(cursor)

    monkeypatch.setattr("login_pipeline.backup.export.take_turn", load_and_take_turn)
    assert kept.back_up().rows == 9


def test_backup_reads_one_moment_while_loads_go_on_and_another_backup_is_refused(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FolderStore.put

    def load_and_put(self: FolderStore, name: str, content: IO[bytes]) -> None:
        kept.load([("during the backup", "ios", "m", "m", None, 1, TUESDAY)], name)
        with pytest.raises(BackupError, match="Another backup or restore of this database is running"):
            kept.back_up()
        put(self, name, content)

    monkeypatch.setattr(FolderStore, "put", load_and_put)
    assert kept.back_up().files_written == 8
    assert [(each.rows.count, each.keys.count) for each in kept.manifest.dates] == [(4, 4), (2, 2), (2, 0)]


def test_memory_holds_one_row_group(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROW_GROUP", 1000)
    kept.query(
        "INSERT INTO user_logins SELECT 'u', 'ios', 'm', 'm', NULL, n, '2026-02-01' FROM generate_series(1, 3500) AS n"
    )
    kept.back_up(accept_losses=True)  # nobody knows their messages
    (file,) = (each.rows for each in kept.manifest.dates if each.create_date == date(2026, 2, 1))
    groups = pq.ParquetFile(kept.folder / file.name).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [1000, 1000, 1000, 500]
    kept.query("DELETE FROM user_logins WHERE create_date = '2026-02-01'")
    assert kept.restore().total("rows_added") == 3500


def test_backup_that_is_killed_leaves_the_last_one_as_it_was_and_can_be_run_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.back_up()
    before = (kept.folder / "manifest.json").read_bytes()
    kept.load([("more", "ios", IP, IP, None, day, date(2026, 2, day)) for day in range(1, 11)], "more")
    put, puts = FolderStore.put, count(1)

    def die_at_the_fifth(self: FolderStore, name: str, content: IO[bytes]) -> None:
        if next(puts) == 5:
            raise KilledError
        put(self, name, content)

    with monkeypatch.context() as death:
        death.setattr(FolderStore, "put", die_at_the_fifth)
        with pytest.raises(KilledError):
            kept.back_up()
    assert len(list(kept.folder.iterdir())) == 9 + 4
    assert (kept.folder / "manifest.json").read_bytes() == before
    assert kept.restore(dry_run=True).touched == []  # every file that it names is there
    assert kept.back_up().dates == 13
    assert len(list(kept.folder.iterdir())) == 2 * 13 + 3


def test_role_that_may_only_read_can_back_up(kept: Kept) -> None:
    role = f"reader_{os.getpid()}"
    kept.query(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        read = ", ".join(set(Table) - {"user_logins_dead_letters"})
        kept.query(f"GRANT SELECT ON {read} TO {role}")
        kept.set(LOGIN_DATABASE_URL=with_role(kept.database.url, role))
        with pytest.raises(ConfigurationError, match="lacks UPDATE on user_logins_backup"):
            kept.back_up()
        kept.query(f"GRANT UPDATE ON user_logins_backup TO {role}")
        assert kept.back_up().rows == 8
        with pytest.raises(ConfigurationError):
            kept.restore()
    finally:
        kept.set(LOGIN_DATABASE_URL=kept.database.url)
        kept.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_command_prints_the_figures_and_ends_with_1_when_a_date_is_damaged(kept: Kept, command: Command) -> None:
    code, out, err = command("backup", "--json")
    figures = json.loads(out)
    assert (code, figures["rows"], figures["damaged"]) == (0, 8, {}), err
    kept.query("DELETE FROM user_logins WHERE create_date = %s", MONDAY)
    code, out, err = command("backup")
    assert (code, len(err.splitlines())) == (1, 1)
    assert dict(line.split() for line in out.splitlines()) == {
        **{name: str(figures[name]) for name in ("dates", "rows", "keys")},
        "files_written": "0",
        "files_removed": "0",
        "damaged": "1",
    }
    assert "1 dates or audit tables look damaged" in err
    kept.set(LOGIN_BACKUP_URL=None)
    code, _, err = command("backup")
    assert (code, err.startswith("LOGIN_BACKUP_URL is not set; for example")) == (2, True)


def test_schedule_backs_up_where_a_place_is_named_and_else_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    skipped = user_logins_backup_schedule.evaluate_tick(dg.build_schedule_context())
    assert skipped.skip_message == "LOGIN_BACKUP_URL is not set, so nothing is backed up"
    monkeypatch.setenv("LOGIN_BACKUP_URL", "/some/folder")
    ticked = user_logins_backup_schedule.evaluate_tick(dg.build_schedule_context())
    assert len(ticked.run_requests or ()) == 1
