"""A date that has expired is gone from the table and the backup, stays gone, and lets no late message in."""

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from threading import Thread
from typing import Any

import dagster as dg
import psycopg2
import pytest

from login_pipeline.backup import restore as restoring
from login_pipeline.definitions import defs
from login_pipeline.errors import BackupError, DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.expiry import Expired, expire
from login_pipeline_tests.backup.fixtures import MONDAY, TRICKY, TUESDAY, Kept, wait_until, waits_for_a_lock
from login_pipeline_tests.conftest import Command, Database, Pipeline

Body = Callable[..., str]
# MONDAY is older than that, and TUESDAY is not.
DAYS = (datetime.now(UTC).date() - TUESDAY).days
FIRST_ID = "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"
LATE = ("late", "ios", "m", "m", None, 1)


@dataclass
class Dated(Kept):
    """The database with its backup, and what it has of other dates than MONDAY."""

    others: list[tuple[Any, ...]]

    def expire(self, **options: bool) -> Expired:
        return expire(self.resource, days=DAYS, **options)

    def load_late(self, day: date, message_id: str = "late") -> Loaded:
        return self.resource.load([(*LATE, day, message_id)], seconds=30)

    def is_gone(self) -> bool:
        return self.rows() == self.others and self.agrees()

    def files(self, day: date = MONDAY) -> list[str]:
        return [path.name for path in self.folder.iterdir() if str(day) in path.name]


@pytest.fixture
def dated(kept: Kept) -> Dated:
    """MONDAY has four rows, TUESDAY two, two have no date; all is backed up, and LOGIN_RETENTION_DAYS is DAYS."""
    kept.set(LOGIN_RETENTION_DAYS=str(DAYS))
    kept.back_up()
    return Dated(**vars(kept), others=[row for row in kept.rows() if row[6] != MONDAY])


def test_dates_over_so_many_days_ago_expire_and_the_rows_still_agree(dated: Dated, command: Command) -> None:
    before = dated.rows(), dated.ledger()
    code, out, err = command("expire", "--dry-run", "--json")
    assert (code, json.loads(out), err) == (0, {"dates": 1, "rows": 4}, "")
    assert (dated.rows(), dated.ledger()) == before
    code, out, err = command("expire", "--json")
    assert (code, json.loads(out), err) == (0, {"dates": 1, "rows": 4}, "")
    assert dated.is_gone()
    assert dated.ledger() == {None: {"before": 2}, MONDAY: {"expired": -4}}
    assert command("check")[0] == 0
    assert dated.expire() == Expired(0, 0)


def test_rows_that_two_nights_did_not_expire_fail_a_check(dated: Dated, command: Command) -> None:
    assert "passed  expired_rows_are_gone" in command("check")[1]
    dated.set(LOGIN_RETENTION_DAYS=str(DAYS - 2))
    code, out, _ = command("check")
    assert (code, re.findall("FAILED +(.+)", out)) == (1, ["expired_rows_are_gone  rows_that_expired: 4"])
    assert command("expire")[0] == 0
    assert command("check")[0] == 0


def test_nothing_expires_without_the_setting(dated: Dated, command: Command) -> None:
    dated.set(LOGIN_RETENTION_DAYS=None)
    rows = dated.rows()
    code, out, err = command("expire", "--json")
    note = "LOGIN_RETENTION_DAYS is not set, so nothing expires"
    assert (code, json.loads(out), err) == (0, {"dates": 0, "rows": 0, "note": note}, "")
    assert (dated.rows(), dated.ledger()) == (rows, {None: {"before": 2}})


def test_job_expires_rows_and_says_how_many(dated: Dated) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("user_logins_expiry_job").execute_in_process(instance=instance)
    (output,) = [event for event in result.all_events if event.is_successful_output]
    assert output.step_output_data.metadata == {"dates": dg.IntMetadataValue(1), "rows": dg.IntMetadataValue(4)}
    assert dated.is_gone()


def test_message_of_an_expired_date_goes_to_the_dead_letter_queue_as_expired(
    pipeline: Pipeline, body: Body, dated: Dated
) -> None:
    """Also one of an earlier date that never had a row; one of a later date loads."""
    dated.expire()
    figures = []
    for day in (MONDAY, MONDAY - timedelta(days=100), TUESDAY):
        sent = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000
        pipeline.queue.send(
            body(),
            original_message_id={"DataType": "String", "StringValue": FIRST_ID},
            original_sent_timestamp={"DataType": "Number", "StringValue": str(int(sent))},
        )
        figures.append(pipeline.run().metadata["user_logins_table"])
    assert [each["reasons"] for each in figures] == [{"expired": 1}, {"expired": 1}, {}]
    assert [each["loaded"] for each in figures] == [0, 0, 1]
    assert pipeline.queue.count() == 0
    reasons = [each["MessageAttributes"]["reason"]["StringValue"] for each in pipeline.dead_letter_queue.take_all()]
    assert reasons == ["expired", "expired"]


def test_message_that_had_its_row_is_only_deleted_when_it_is_delivered_again(dated: Dated) -> None:
    dated.expire()
    assert dated.load_late(MONDAY, "id-0") == Loaded(0, 1, {})
    prune_inbox_of(dated)
    assert dated.load_late(MONDAY, "id-0") == Loaded(0, 0, {"id-0": "expired"})
    assert dated.is_gone()


def prune_inbox_of(dated: Kept) -> None:
    dated.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - interval '31 days'")
    prune_inbox(dated.resource, days=30)


def test_backup_has_no_file_of_an_expired_date_left(dated: Dated, command: Command) -> None:
    command("expire")
    prune_inbox_of(dated)
    dated.back_up()
    assert dated.files() == []
    assert dated.files(TUESDAY) != []
    assert dated.restore().touched == []
    assert dated.back_up().files_written == 0


def test_backup_that_fails_is_named_and_the_next_one_has_the_rows_no_longer(dated: Dated, command: Command) -> None:
    dated.set(LOGIN_BACKUP_URL="/dev/null/folder")
    code, out, err = command("expire", "--json")
    assert (code, json.loads(out)["rows"]) == (1, 4)
    assert err.startswith("The rows have expired, and the backup in LOGIN_BACKUP_URL may still hold them: ")
    dated.back_up()
    (monday,) = [each for each in dated.manifest.dates if each.create_date == MONDAY]
    assert monday.rows.count == 0


# A table that is dropped alone is created again empty.
LOSSES = [
    "SELECT",
    "DROP TABLE user_logins",
    "DROP TABLE user_logins_inbox",
    "DROP TABLE user_logins, user_logins_inbox",
    "DROP TABLE user_logins, user_logins_inbox, user_logins_ledger",
    "DELETE FROM user_logins_ledger WHERE entry = 'expired'",
    "DELETE FROM user_logins WHERE create_date = '2026-01-06'",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_restore_from_an_older_backup_does_not_bring_a_date_back(dated: Dated, loss: str) -> None:
    keys = dated.keys()
    dated.expire()
    dated.query(loss)
    foreseen = dated.restore(dry_run=True)
    restored = dated.restore()
    assert restored.touched == foreseen.touched
    assert restored.complete
    assert dated.is_gone()
    assert dated.keys() == keys
    assert dated.restore().touched == []
    assert dated.load_late(MONDAY).refused == {"late": "expired"}
    dated.back_up()
    assert dated.restore().touched == []
    assert dated.is_gone()


def test_setting_that_is_longer_now_does_not_bring_a_date_back(dated: Dated) -> None:
    dated.expire()
    dated.set(LOGIN_RETENTION_DAYS=None)
    dated.restore()
    assert dated.is_gone()


def test_restore_into_a_new_database_knows_which_dates_have_expired(dated: Dated, other: Database) -> None:
    """From a backup that is newer than the expiry, and then from one that is older."""
    shutil.copytree(dated.folder, older := dated.folder.with_name("older"))
    dated.expire()
    dated.back_up()
    dated.move_to(other)
    dated.set(LOGIN_RETENTION_DAYS=None)
    dated.restore()
    assert dated.load_late(MONDAY).refused == {"late": "expired"}
    assert dated.is_gone()
    dated.query("DROP TABLE user_logins, user_logins_inbox, user_logins_ledger, user_logins_backup")
    dated.set(LOGIN_RETENTION_DAYS=str(DAYS))
    dated.folder = older
    dated.restore()
    assert dated.load_late(MONDAY).refused == {"late": "expired"}
    assert dated.is_gone()


def test_restore_leaves_rows_of_another_database_that_the_backup_calls_expired(dated: Dated, other: Database) -> None:
    dated.expire()
    dated.back_up()
    dated.move_to(other)
    dated.set(LOGIN_RETENTION_DAYS=None)
    dated.resource.prepare()
    dated.load(TRICKY[:2], "of its own")
    dated.restore(take_over=True)
    assert dated.rows() == sorted([*dated.others, *TRICKY[:2]], key=repr)
    assert dated.agrees()


def test_expiry_ends_the_damage_of_its_date_and_of_no_other(dated: Dated) -> None:
    dated.query("DELETE FROM user_logins WHERE user_id IN ('plain', '')")
    assert dated.expire() == Expired(1, 2)
    with pytest.raises(BackupError, match=r"^1 dates or audit tables look damaged .*2026-01-06: 1 rows fewer"):
        dated.back_up()
    assert dated.restore().complete
    assert dated.is_gone()


def test_erased_and_pruned_rows_are_counted_once(dated: Dated) -> None:
    erase(dated.resource, ["plain"], "request 1", "jo")
    prune_inbox_of(dated)
    assert dated.expire() == Expired(1, 2)
    assert dated.ledger()[MONDAY] == {"pruned": 4, "erased": -2, "expired": -2}
    assert dated.is_gone()


def test_expiry_that_was_killed_after_any_of_its_transactions_goes_on(
    dated: Dated, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated.load([(*LATE, MONDAY - timedelta(days=1))], "sunday")
    rows, real = dated.rows(), LoginDatabase.transaction
    # The tables twice, the rights, the dates; then the entry that closes, and Sunday's rows.
    for transactions, left in ((5, rows), (6, [row for row in rows if row[0] != "late"])):
        alive = iter([True] * transactions)

        def killed(self: LoginDatabase, alive: Any = alive, **options: Any) -> Any:
            if not next(alive, False):
                raise DatabaseError("killed")
            return real(self, **options)

        with monkeypatch.context() as death:
            death.setattr(LoginDatabase, "transaction", killed)
            with pytest.raises(DatabaseError):
                dated.expire()
        assert (dated.rows(), dated.ledger()[MONDAY]) == (left, {"expired": 0})
        assert dated.agrees()
        assert dated.load_late(MONDAY).refused == {"late": "expired"}
        assert dated.load_late(MONDAY - timedelta(days=1)).refused == {"late": "expired"}
    assert dated.expire() == Expired(1, 4)
    assert dated.is_gone()


def test_date_whose_transaction_dies_keeps_all_its_rows(dated: Dated) -> None:
    rows = dated.rows()
    dated.query(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'; "
        "CREATE TRIGGER die AFTER DELETE ON user_logins EXECUTE FUNCTION die()"
    )
    with pytest.raises(DatabaseError):
        dated.expire()
    assert (dated.rows(), dated.ledger()[MONDAY]) == (rows, {"expired": 0})
    assert dated.agrees()
    dated.query("DROP TRIGGER die ON user_logins")
    dated.expire()
    assert dated.is_gone()


def test_rows_that_a_trigger_keeps_are_an_error_and_nothing_is_counted(dated: Dated) -> None:
    rows = dated.rows()
    dated.query(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER keep BEFORE DELETE ON user_logins FOR EACH ROW WHEN (OLD.user_id = 'plain') "
        "EXECUTE FUNCTION keep()"
    )
    with pytest.raises(DatabaseError, match="PostgreSQL kept 2 rows of 2026-01-05 in user_logins"):
        dated.expire()
    assert (dated.rows(), dated.ledger()[MONDAY]) == (rows, {"expired": 0})


def test_expiry_waits_for_the_loads_under_way(dated: Dated) -> None:
    """One that was let in before the date was closed must not commit its row after the date's rows are gone."""
    loading = psycopg2.connect(dated.database.url)
    loading.cursor().execute("LOCK TABLE user_logins_inbox IN ROW EXCLUSIVE MODE")
    loading.cursor().execute("INSERT INTO user_logins_inbox (message_id, create_date) VALUES ('slow', %s)", (MONDAY,))
    loading.cursor().execute("INSERT INTO user_logins VALUES (%s, %s, %s, %s, %s, %s, %s)", (*LATE, MONDAY))
    with ThreadPoolExecutor(1) as pool:
        expiring = pool.submit(dated.expire)
        wait_until(lambda: waits_for_a_lock(dated) or expiring.done())
        loading.commit()
        assert expiring.result() == Expired(1, 5)
    loading.close()
    assert dated.is_gone()


def test_expiry_waits_for_a_restore_that_has_staged_the_date(dated: Dated, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, expiring = restoring._stage, Thread(target=dated.expire)

    def stage_and_let_expire(*arguments: Any) -> int:
        withheld = stage(*arguments)
        if not expiring.ident:
            expiring.start()
            expiring.join(1)
        return withheld

    dated.set(LOGIN_RETENTION_DAYS=None)  # or the restore would let the date expire
    dated.query("DELETE FROM user_logins WHERE create_date = %s", MONDAY)
    monkeypatch.setattr(restoring, "_stage", stage_and_let_expire)
    dated.restore()
    expiring.join()
    assert dated.is_gone()


def test_loads_erasures_prunings_and_restores_at_once_agree_with_the_inbox(dated: Dated) -> None:
    def load() -> None:
        for number in range(30):
            dated.load([(*LATE, MONDAY), ("new", *LATE[1:], TUESDAY)], f"during-{number}")

    tasks: list[Callable[[], object]] = [
        load,
        dated.expire,
        dated.restore,
        lambda: erase(dated.resource, ["plain"], "request 1", "jo", allow_none=True),
    ]
    with ThreadPoolExecutor(len(tasks)) as pool:
        list(pool.map(lambda task: task(), tasks))
    dated.expire()
    assert [row for row in dated.rows() if row[0] != "new"] == dated.others
    assert dated.agrees()


def test_ledger_of_the_first_release_is_brought_up_to_date(dated: Dated, command: Command) -> None:
    dated.query(
        "ALTER TABLE user_logins_ledger DROP CONSTRAINT user_logins_ledger_entry_check, "
        "ADD CONSTRAINT user_logins_ledger_entry_check "
        "CHECK (entry IN ('before', 'pruned', 'erased', 'lost', 'rotated'))"
    )
    assert command("expire")[0] == 0
    assert dated.is_gone()
    with pytest.raises(psycopg2.errors.CheckViolation):
        dated.query("INSERT INTO user_logins_ledger VALUES (NULL, 'another', 0)")
