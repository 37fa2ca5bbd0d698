"""Restores: every loss that a backup can make good is made good, exactly, and any other is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import psycopg2
import pytest

from login_pipeline.errors import BackupError
from login_pipeline.postgres import statements
from login_pipeline_tests.backup.fixtures import MONDAY, TRICKY, TUESDAY, Kept, wait_until, waits_for_a_lock
from login_pipeline_tests.conftest import Command, Pipeline

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))
NEW = ("loaded after the backup", "ios", "m", "m", None, 7, TUESDAY)


@pytest.mark.parametrize(
    "loss",
    [
        "DROP TABLE user_logins, user_logins_inbox, user_logins_ledger",
        "DROP TABLE user_logins",
        "DROP TABLE user_logins_inbox",
        "TRUNCATE user_logins_inbox",
        "TRUNCATE user_logins, user_logins_inbox",
        "DELETE FROM user_logins WHERE user_id = 'plain'",
        "DELETE FROM user_logins WHERE ctid IN (SELECT min(ctid) FROM user_logins WHERE user_id = 'plain')",
        "DELETE FROM user_logins WHERE create_date IS NULL",
        "DROP TABLE user_logins_ledger",
        "DELETE FROM user_logins_inbox WHERE message_id < 'id-3'",
        "DELETE FROM user_logins WHERE locale IS NULL; DELETE FROM user_logins_inbox WHERE message_id = 'id-0'",
    ],
)
def test_what_was_lost_is_back_exactly_as_it_was(kept: Kept, loss: str) -> None:
    kept.back_up()
    rows, keys, ledger = kept.rows(), kept.keys(), kept.ledger()
    kept.query(loss)
    foreseen = kept.restore(dry_run=True)
    restored = kept.restore()
    assert restored.touched == foreseen.touched
    assert restored.complete
    assert (kept.rows(), kept.keys(), kept.ledger()) == (rows, keys, ledger)
    assert kept.agrees()
    assert kept.restore().touched == []
    assert kept.back_up().files_written == 0


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM user_logins WHERE user_id <> 'loaded after the backup'",
        "DELETE FROM user_logins WHERE locale = 'FR'",
        "DELETE FROM user_logins WHERE create_date IS NULL",
    ],
)
def test_rows_loaded_after_the_backup_survive(kept: Kept, loss: str) -> None:
    kept.back_up()
    kept.load([NEW, NEW, (*NEW[:6], MONDAY)], "later")
    rows, keys = kept.rows(), kept.keys()
    kept.query(loss)
    assert kept.restore().complete
    assert (kept.rows(), kept.keys()) == (rows, keys)
    assert kept.agrees()


def test_later_login_that_equals_a_lost_one_does_not_take_its_place(kept: Kept) -> None:
    """The same user logs in again on the same day, after the table was lost: two rows, not one."""
    kept.back_up()
    kept.query("DROP TABLE user_logins, user_logins_inbox")
    kept.resource.prepare()
    kept.load([TRICKY[2]], "later")
    kept.restore()
    assert kept.rows().count(TRICKY[2]) == 2
    assert len(kept.rows()) == 9
    assert kept.agrees()


def test_rows_that_were_altered_are_left_and_replaced_on_demand(kept: Kept) -> None:
    kept.back_up()
    kept.load([NEW], "later")
    rows = kept.rows()
    kept.query("UPDATE user_logins SET device_type = 'altered' WHERE user_id IN ('plain', '')")
    kept.query("DELETE FROM user_logins WHERE user_id = 'no locale'")
    altered = kept.rows()
    restored = kept.restore()
    assert restored.total("rows_that_differ") == 3
    assert kept.rows() == altered
    assert "differ from the backup" in next(restored.advice())
    replaced = kept.restore(replace=True)
    assert (replaced.total("rows_removed"), replaced.total("rows_added")) == (3, 4)
    assert kept.rows() == rows
    assert kept.agrees()


def test_replace_removes_no_row_that_may_have_been_loaded_after_the_backup(kept: Kept) -> None:
    """An altered row of a later message looks like an altered row of the backup."""
    kept.back_up()
    kept.load([NEW], "later")
    kept.query("UPDATE user_logins SET device_type = 'altered' WHERE user_id = %s", NEW[0])
    rows = kept.rows()
    assert kept.restore(replace=True).total("rows_removed") == 0
    assert kept.rows() == rows


def test_rows_loaded_after_the_backup_and_lost_are_reported_and_their_keys_forgotten_on_demand(kept: Kept) -> None:
    kept.back_up()
    rows, keys = kept.rows(), kept.keys()
    kept.load([NEW, NEW], "later")
    kept.load([(*NEW[:6], kept.query("SELECT DATE '2026-01-09'")[0][0])], "latest")
    kept.query("DROP TABLE user_logins")
    restored = kept.restore()
    assert [(str(each.create_date), each.rows_lost) for each in restored.touched if each.rows_lost] == [
        ("2026-01-06", 2),
        ("2026-01-09", 1),
    ]
    assert next(restored.advice()).startswith("3 rows are lost on 2026-01-06, 2026-01-09: ")
    assert not kept.agrees()
    assert kept.restore(drop_lost_keys=True).total("keys_forgotten") == 3
    assert (kept.rows(), kept.keys()) == (rows, keys)
    assert kept.agrees()


def test_rows_whose_keys_were_lost_and_are_not_in_the_backup_stay_and_are_reported(kept: Kept) -> None:
    kept.back_up()
    kept.load([NEW, NEW], "later")
    rows = kept.rows()
    kept.query("DROP TABLE user_logins_inbox")
    restored = kept.restore()
    assert restored.total("rows_without_key") == 2
    assert kept.rows() == rows
    assert kept.agrees()
    with pytest.raises(BackupError, match="its keys were lost"):
        kept.back_up()
    kept.back_up(accept_losses=True)
    assert kept.restore().touched == []


def test_loss_of_rows_from_before_the_inbox_is_reported_also_where_the_backup_lacks_their_date(kept: Kept) -> None:
    kept.back_up()
    kept.query("INSERT INTO user_logins_ledger VALUES ('2026-01-09', 'before', 2)")
    kept.query("INSERT INTO user_logins (create_date) VALUES ('2026-01-09')")
    assert kept.restore().total("rows_lost") == 1
    assert not kept.agrees()


def test_keys_that_were_pruned_since_are_counted_once(kept: Kept) -> None:
    kept.back_up()
    kept.query("DELETE FROM user_logins_inbox WHERE create_date = %s", MONDAY)
    kept.query("INSERT INTO user_logins_ledger VALUES (%s, 'pruned', 4)", MONDAY)
    kept.query("DELETE FROM user_logins WHERE user_id = 'plain'")
    assert kept.restore().total("rows_added") == 2
    assert kept.agrees()


def test_replace_keeps_rows_of_later_messages_whose_keys_were_pruned(kept: Kept) -> None:
    kept.back_up()
    kept.load([NEW], "later")
    rows = kept.rows()
    kept.query("DELETE FROM user_logins_inbox WHERE message_id = 'later-0'")
    kept.query("INSERT INTO user_logins_ledger VALUES (%s, 'pruned', 1)", TUESDAY)
    kept.restore(replace=True)
    assert kept.rows() == rows
    assert kept.agrees()


def test_messages_still_on_the_queue_get_no_second_row_after_a_restore(
    pipeline: Pipeline, kept: Kept, body: Callable[..., str]
) -> None:
    """A crash between the commit and the delete, then a backup, then the loss of both tables."""
    pipeline.queue.send(*(body(user_id=str(number)) for number in range(10)))
    seen = pipeline.queue.client.receive_message(
        QueueUrl=pipeline.queue.url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
        MessageSystemAttributeNames=["SentTimestamp"],
    )["Messages"]
    sent = [(message["MessageId"], int(message["Attributes"]["SentTimestamp"])) for message in seen]
    day = kept.query("SELECT (now() AT TIME ZONE 'UTC')::date")[0][0]
    kept.resource.load([(message_id, "ios", "m", "m", None, 1, day, message_id) for message_id, _ in sent], seconds=30)
    kept.back_up()
    kept.query("DROP TABLE user_logins, user_logins_inbox")
    kept.restore()
    run = pipeline.run()
    assert run.failures == []
    figures = run.metadata["user_logins_table"]
    assert (figures["loaded"], figures["duplicates"]) == (10 - len(sent), len(sent))
    assert len(sent) > 0
    assert pipeline.queue.count() == 0
    assert len(kept.rows()) == 8 + 10
    assert kept.agrees()


def test_damaged_file_is_named_and_nothing_is_changed(kept: Kept) -> None:
    kept.back_up()
    kept.query("DROP TABLE user_logins, user_logins_inbox")
    for name in (kept.manifest.dates[-1].keys.name, kept.manifest.audit["user_logins_erasures"].name):
        file = kept.folder / name
        whole = file.read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(BackupError, match=f"{name} in LOGIN_BACKUP_URL is damaged"):
            kept.restore()
        assert kept.query("SELECT to_regclass('user_logins')") == [(None,)]
        file.unlink()
        with pytest.raises(BackupError, match=f"{name} is missing"):
            kept.restore()
        file.write_bytes(whole)


def test_damaged_manifest_stops_restores_and_backups(kept: Kept) -> None:
    kept.back_up()
    manifest = kept.folder / "manifest.json"
    whole = manifest.read_text()
    for damaged in ("", "{}", "[]", whole[:-9], whole.replace('"before": 2', '"before": 3')):
        manifest.write_text(damaged)
        for do in (kept.restore, kept.back_up):
            with pytest.raises(BackupError, match=r"manifest\.json in LOGIN_BACKUP_URL is damaged"):
                do()


def test_restore_that_is_killed_can_be_run_again(kept: Kept) -> None:
    """A trigger holds it where the second date's rows are inserted; the first date's are committed."""
    kept.back_up()
    rows, keys = kept.rows(), kept.keys()
    kept.query("TRUNCATE user_logins, user_logins_inbox")
    kept.query(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END'; "
        "CREATE TRIGGER hold BEFORE INSERT ON user_logins FOR EACH ROW "
        "WHEN (NEW.create_date = '2026-01-06') EXECUTE FUNCTION hold()"
    )
    holder = psycopg2.connect(kept.database.url)
    holder.cursor().execute("SELECT pg_advisory_lock(42)")
    restoring = subprocess.Popen([COMMAND, "restore"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: waits_for_a_lock(kept))
    os.kill(restoring.pid, signal.SIGKILL)
    restoring.wait()
    assert len(kept.rows()) == 4
    holder.close()
    kept.query("DROP TRIGGER hold ON user_logins")
    alive = "SELECT count(*) FROM pg_locks WHERE relation = 'user_logins_backup'::regclass"
    wait_until(lambda: kept.query(alive) == [(0,)])  # until PostgreSQL has noticed that the killed one is gone
    kept.restore()
    assert (kept.rows(), kept.keys()) == (rows, keys)
    assert kept.agrees()


def test_loads_that_go_on_during_a_restore_are_all_there_once(kept: Kept) -> None:
    kept.load([(*NEW[:5], number, TUESDAY) for number in range(2000)], "many")
    kept.back_up()
    rows = kept.rows()
    kept.query("TRUNCATE user_logins, user_logins_inbox")

    def load() -> None:
        for number in range(40):
            kept.load([NEW, (*NEW[:6], MONDAY)], f"during-{number}")
            kept.load(TRICKY)  # delivered again

    loading = Thread(target=load)
    loading.start()
    kept.restore()
    loading.join()
    kept.restore()
    during = [NEW, (*NEW[:6], MONDAY)] * 40
    assert kept.rows() == sorted(rows + during, key=repr)
    assert kept.agrees()


def test_dry_run_changes_nothing_and_goes_on_beside_a_run_that_creates_the_lost_tables(kept: Kept) -> None:
    kept.back_up()
    kept.query("DROP TABLE user_logins, user_logins_ledger, user_logins_inbox")
    assert kept.restore(dry_run=True).total("rows_added") == 8
    assert kept.query("SELECT to_regclass('user_logins'), to_regclass('user_logins_inbox')") == [(None, None)]
    creating = psycopg2.connect(kept.database.url)
    for table in (statements.user_logins, statements.ledger, statements.inbox):
        creating.cursor().execute(table.create)
    with ThreadPoolExecutor(1) as pool:
        foreseen = pool.submit(kept.restore, dry_run=True)
        wait_until(lambda: waits_for_a_lock(kept) or foreseen.done())
        creating.commit()
        assert foreseen.result().total("rows_added") == 8
    creating.close()


def test_older_copy_of_the_backup_brings_back_rows_whose_loss_was_accepted(kept: Kept) -> None:
    kept.back_up()
    rows, ledger = kept.rows(), kept.ledger()
    shutil.copytree(kept.folder, older := kept.folder.with_name("older"))
    kept.query("DELETE FROM user_logins WHERE user_id = 'no locale'")
    kept.back_up(accept_losses=True)
    assert kept.ledger() == ledger | {MONDAY: {"lost": -1}}
    kept.folder = older
    assert kept.restore().total("rows_added") == 1
    assert (kept.rows(), kept.ledger()) == (rows, ledger)
    assert kept.agrees()


def test_restore_waits_for_a_load_that_is_not_committed_yet(kept: Kept) -> None:
    """Its message was in the backup, was lost, and is delivered again."""
    kept.back_up()
    rows = kept.rows()
    kept.query("TRUNCATE user_logins, user_logins_inbox")
    loading = psycopg2.connect(kept.database.url)
    cursor = loading.cursor()
    cursor.execute("INSERT INTO user_logins_inbox (message_id, create_date) VALUES ('id-0', %s)", (MONDAY,))
    cursor.execute("INSERT INTO user_logins VALUES (%s, %s, %s, %s, %s, %s, %s)", TRICKY[0])
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(kept.restore)
        wait_until(lambda: waits_for_a_lock(kept) or restoring.done())
        loading.commit()
        restoring.result()
    loading.close()
    assert kept.rows() == rows
    assert kept.agrees()


def test_command_restores_checks_and_prints_one_json_object(kept: Kept, command: Command) -> None:
    code, _, err = command("restore")
    assert (code, "holds no backup" in err, kept.folder.exists()) == (2, True, False)
    kept.back_up()
    kept.load([NEW], "later")
    kept.query("DROP TABLE user_logins")
    code, out, err = command("restore", "--json")
    figures = json.loads(out)
    assert (code, figures["rows_added"], figures["rows_lost"]) == (1, 8, 1)
    assert "1 rows are lost on 2026-01-06" in err
    wrong = [check["name"] for check in figures["checks"] if not check["passed"] and check["severity"] == "ERROR"]
    assert wrong == ["rows_agree_with_the_inbox"]
    code, out, err = command("restore", "--drop-lost-keys")
    assert (code, "passed  rows_agree_with_the_inbox" in out) == (0, True), err


def test_dagster_home_that_cannot_be_opened_stops_a_restore_before_it_changes_anything(
    kept: Kept, command: Command
) -> None:
    kept.back_up()
    kept.query("TRUNCATE user_logins")
    kept.set(DAGSTER_HOME="/nonexistent")
    code, out, err = command("restore")
    assert (code, out, kept.rows()) == (2, "", [])
    assert err.startswith("DAGSTER_HOME=/nonexistent does not hold a Dagster instance")
    assert command("restore", "--dry-run")[0] == 0  # it runs no check
