"""A user who is erased is gone from the table and the backup, stays gone, and leaves proof that names nobody."""

import hmac
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from login_pipeline.backup.export import back_up
from login_pipeline.backup.manifest import now
from login_pipeline.backup.store import FolderStore
from login_pipeline.cli import main as cli
from login_pipeline.cli.doctor import examine
from login_pipeline.errors import BackupError, ConfigurationError, DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.masking.keys import MaskingKey, new_key, read_key_ring
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.privacy import erasure
from login_pipeline.privacy.erasure import erase, erased_since, proofs
from login_pipeline.privacy.request import subject
from login_pipeline.settings import read_settings
from login_pipeline_tests.backup.fixtures import MONDAY, TRICKY, TUESDAY, Kept, kept
from login_pipeline_tests.conftest import MASKING_KEY, Pipeline

__all__ = ["kept"]
Body = Callable[..., str]
USER = "user to erase 7c1d"
WHY = "ticket 4711"
ASKED = ("--reason", WHY, "--by", "jo")
COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def login(user_id: str = USER, day: Any = MONDAY, version: int = 1) -> tuple[Any, ...]:
    return (user_id, "ios", "m", "m", None, version, day)


@dataclass
class Known:
    """What a test knows of: the database with its backup, and everybody else's rows."""

    kept: Kept
    others: list[tuple[Any, ...]]

    def is_gone(self) -> bool:
        return self.kept.rows() == self.others and self.kept.failed_checks() == []

    def in_backup(self) -> int:
        tables = [pq.read_table(self.kept.folder / each.rows.name) for each in self.kept.manifest.dates]
        files = len(list(self.kept.folder.glob("user_logins*.parquet")))
        assert files == 2 * len(tables) + 2  # of the audit tables
        return sum(table.column("user_id").to_pylist().count(USER) for table in tables)


@pytest.fixture
def known(kept: Kept) -> Known:
    """The user has three rows of two dates, among others; all is backed up."""
    others = kept.rows()
    kept.load([login(), login(), login(day=TUESDAY)], "theirs")
    kept.back_up()
    return Known(kept, others)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["login-pipeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


def test_forgotten_user_is_gone_from_the_table_and_the_backup(known: Known, command: Command) -> None:
    assert known.in_backup() == 3
    code, out, err = command("forget", USER, *ASKED, "--json")
    assert (code, err) == (0, "")
    figures = json.loads(out)
    assert (figures["rows"], figures["dates"], figures["backed_up"]) == (3, 2, True)
    assert "dead-letter queue are still there" in figures["note"]
    assert known.is_gone()
    assert known.in_backup() == 0
    assert known.kept.restore().touched == []
    assert known.is_gone()
    assert known.kept.back_up().files_written == 0


def test_user_is_forgotten_where_all_tables_are_published(known: Known, command: Command) -> None:
    known.kept.query("CREATE PUBLICATION everything FOR ALL TABLES")
    assert command("prepare")[2] == ""
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.is_gone()


def test_published_table_without_a_replica_identity_is_said_beforehand_and_by_the_error(
    known: Known, command: Command
) -> None:
    known.kept.query("ALTER TABLE user_logins REPLICA IDENTITY DEFAULT")
    assert command("prepare")[2] == ""
    known.kept.query("CREATE PUBLICATION everything FOR ALL TABLES")
    remedy = "ALTER TABLE user_logins REPLICA IDENTITY FULL"
    code, _, err = command("prepare")
    assert (code, err.count(f"have the tables' owner run: {remedy};\n")) == (0, 1)
    (database,) = (each for each in examine() if each.subject == "database")
    assert not database.well
    assert database.says.endswith(f"have the tables' owner run: {remedy};")
    code, _, err = command("forget", USER, *ASKED)
    assert (code, remedy in err) == (1, True)
    known.kept.query(remedy)
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.is_gone()


def test_user_is_not_stored_in_clear_and_the_proof_is_keyed(known: Known, command: Command) -> None:
    command("forget", USER, *ASKED)
    ((proof,),) = known.kept.query("SELECT to_jsonb(e) FROM user_logins_erasures AS e")
    (key,) = read_key_ring(MASKING_KEY)
    assert proof["subject"] == subject(key, USER) != subject(new_key(MONDAY), USER)
    assert proof["subject"].startswith(f"{key.id}.")
    assert (proof["rows"], proof["dates"], proof["reason"]) == (3, 2, WHY)
    assert ", " in proof["erased_by"]
    assert USER not in json.dumps(proof)
    assert USER not in str((known.kept.keys(), known.kept.ledger()))


def test_proof_says_when_how_many_and_by_whom(known: Known, command: Command) -> None:
    code, out, err = command("forget", USER, "--proof")
    assert (code, out) == (1, "")
    assert err.startswith("No erasure of this user is recorded")
    command("forget", USER, *ASKED)
    code, out, _ = command("forget", USER, "--proof", "--json")
    (proof,) = json.loads(out)["erasures"]
    assert (code, proof["rows"], proof["reason"]) == (0, 3, WHY)
    assert command("forget", "somebody else", "--proof", "--json")[0] == 1


def test_proof_under_an_older_key_is_found(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    ring = read_key_ring(MASKING_KEY).rotated(MONDAY)
    known.kept.pipeline.set(LOGIN_MASKING_KEY=" ".join(key.written() for key in ring))
    assert len(proofs(known.kept.resource, USER)) == 1
    known.kept.pipeline.set(LOGIN_MASKING_KEY=ring.active.written())
    assert proofs(known.kept.resource, USER) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE user_logins_erasures SET reason = 'another'",
        "DELETE FROM user_logins_erasures",
        "TRUNCATE user_logins_erasures",
    ],
)
def test_proof_is_only_added_to(known: Known, change: str) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    with pytest.raises(psycopg2.errors.RestrictViolation):
        known.kept.query(change)
    assert len(proofs(known.kept.resource, USER)) == 1


def test_user_s_id_is_in_no_statement(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL logs statements that are slow, that fail, or all of them; parameters of psycopg2 are in their text."""
    statements_sent: list[str] = []
    execute = InterruptibleCursor.execute

    def watched(cursor: InterruptibleCursor, query: Any, parameters: Any = None) -> None:
        execute(cursor, query, parameters)
        statements_sent.append((cursor.query or b"").decode())

    monkeypatch.setattr(InterruptibleCursor, "execute", watched)
    erase(known.kept.resource, USER, WHY, "jo")
    erasure.count_rows_of(known.kept.resource, USER)
    proofs(known.kept.resource, USER)
    assert any("DELETE FROM user_logins" in statement for statement in statements_sent)
    assert not any(USER in statement for statement in statements_sent)


def test_dry_run_counts_and_changes_nothing(known: Known, command: Command) -> None:
    rows, keys = known.kept.rows(), known.kept.keys()
    code, out, _ = command("forget", USER, "--dry-run", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["dates"]) == (0, 3, 2)
    assert (known.kept.rows(), known.kept.keys()) == (rows, keys)
    assert known.kept.query("SELECT * FROM user_logins_erasures") == []


def test_user_id_is_read_from_stdin(known: Known) -> None:
    ended = subprocess.run(
        [COMMAND, "--log-format", "json", "forget", "-", *ASKED, "--json"],
        input=f"{USER}\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, json.loads(ended.stdout)["rows"]) == (0, 3), ended.stderr
    assert '"event": "erased"' in ended.stderr
    assert USER not in ended.stdout + ended.stderr
    assert known.is_gone()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((USER,), "say why with --reason"),
        ((USER, "--by", "jo", "--reason", "asked by jo@example.com"), "name the request instead"),
        (("two", "words", *ASKED), "name one USER_ID"),
        ((f"--{USER}", "another", *ASKED), "name one USER_ID"),
        ((" ", *ASKED), "The USER_ID is not one"),
        (("x" * 129, *ASKED), "The USER_ID is not one"),
        (("\udcff", *ASKED), "The USER_ID is not one"),
        ((USER, "--by", "jo", "--reason", " "), "The reason is blank"),
        ((USER, "--by", "jo", "--reason", f"{USER.upper()} asked for it"), "The reason names the user"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_that_quotes_nothing(
    known: Known, command: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    rows = known.kept.rows()
    code, out, err = command("forget", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert USER not in err
    assert known.kept.rows() == rows


def test_user_id_that_begins_with_a_dash_is_erased(known: Known, command: Command) -> None:
    known.kept.load([login("-7")], "dash")
    code, out, _ = command("forget", "-7", *ASKED, "--json")
    assert (code, json.loads(out)["rows"]) == (0, 1)


def test_key_is_needed_whatever_the_masks_are(known: Known, command: Command) -> None:
    known.kept.pipeline.set(LOGIN_MASKING_METHOD="sha256", LOGIN_MASKING_KEY=None)
    code, _, err = command("forget", USER, *ASKED)
    assert code == 2
    assert err.startswith("LOGIN_MASKING_KEY is not set")
    assert "the proof of an erasure is keyed, whatever LOGIN_MASKING_METHOD is" in err


@pytest.mark.parametrize("user_id", [TRICKY[4][0], TRICKY[3][0], "plain", "\\."])
def test_odd_user_ids_are_erased_exactly(known: Known, user_id: str) -> None:
    known.kept.load([login(user_id), login(user_id + "."), login("x" + user_id)], "odd")
    theirs = sum(row[0] == user_id for row in known.kept.rows())
    assert erase(known.kept.resource, user_id, WHY, "jo").rows == theirs > 0
    assert sum(str(row[0]).startswith(user_id) for row in known.kept.rows()) == 1
    assert known.kept.failed_checks() == []


def test_rows_from_before_the_inbox_and_without_a_date_are_erased_and_counted(kept: Kept) -> None:
    kept.back_up()
    assert erase(kept.resource, "old", WHY, "jo").rows == 1
    assert kept.ledger() == {None: {"before": 2, "erased": -1}}
    assert kept.failed_checks() == []
    kept.restore()
    assert "old" not in [row[0] for row in kept.rows()]
    kept.back_up()
    assert kept.failed_checks() == []


def test_user_who_has_no_row_is_recorded_so_that_no_backup_brings_them(known: Known) -> None:
    known.kept.query("DELETE FROM user_logins WHERE user_id = %s", USER)
    assert erase(known.kept.resource, USER, WHY, "jo", allow_none=True).rows == 0
    assert known.kept.restore().withheld == 3
    assert known.is_gone()


def test_later_login_of_the_same_user_loads_and_is_erased_again(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.load([login(version=2)], "later")
    known.kept.load([login()], "theirs")  # delivered again
    assert [row[5] for row in known.kept.rows() if row[0] == USER] == [2]
    assert known.kept.failed_checks() == []
    known.kept.back_up()
    assert known.in_backup() == 1
    known.kept.query("DROP TABLE user_logins, user_logins_inbox")
    known.kept.restore()
    assert [row[5] for row in known.kept.rows() if row[0] == USER] == [2]
    assert erase(known.kept.resource, USER, WHY, "jo").rows == 1
    known.kept.restore()
    assert known.is_gone()
    assert [each.rows for each in proofs(known.kept.resource, USER)] == [3, 1]


LOSSES = [
    "SELECT",
    "DROP TABLE user_logins",
    "DROP TABLE user_logins_inbox",
    "DROP TABLE user_logins, user_logins_inbox",
    "TRUNCATE user_logins",
    "TRUNCATE user_logins_inbox",
    "TRUNCATE user_logins, user_logins_inbox",
    "DELETE FROM user_logins WHERE user_id = 'plain'",
    "DELETE FROM user_logins_ledger WHERE entry = 'erased'",
    "DELETE FROM user_logins_inbox WHERE message_id LIKE 'theirs%'",
    "UPDATE user_logins_ledger SET rows = -1 WHERE entry = 'erased'",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_restore_from_an_older_backup_does_not_bring_them_back(known: Known, loss: str) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query(loss)
    foreseen = known.kept.restore(dry_run=True)
    restored = known.kept.restore()
    assert (foreseen.touched, foreseen.withheld) == (restored.touched, restored.withheld)
    assert restored.withheld == 3
    assert restored.complete
    assert known.is_gone()
    assert known.kept.restore().touched == []
    known.kept.back_up()
    assert known.in_backup() == 0
    known.kept.query("DROP TABLE user_logins, user_logins_inbox")
    known.kept.restore()
    assert known.is_gone()


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "TRUNCATE user_logins_inbox"])
def test_restore_after_two_erasures_around_a_backup(known: Known, loss: str) -> None:
    """Others are in the backup that has seen the first erasure; the second one is of rows before and after it."""
    erase(known.kept.resource, "plain", WHY, "jo")
    known.kept.back_up()
    known.kept.load([login(version=9), login("new", version=9)], "later")
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query(loss.replace("'plain'", "'no locale'"))
    restored = known.kept.restore(drop_lost_keys=True)
    rows = [row for row in known.others if row[0] != "plain"]
    assert [row for row in known.kept.rows() if row[0] != "new"] == rows
    new_is_lost = re.match(r"(DROP TABLE|TRUNCATE) user_logins(,|$)", loss) is not None
    assert (login("new", version=9) in known.kept.rows()) is not new_is_lost
    if "erased" in loss:  # that one of the rows was loaded after the backup, only that counter knew
        assert restored.total("rows_lost") == 1
        assert known.kept.failed_checks() == ["rows_agree_with_the_inbox"]
    else:
        assert known.kept.failed_checks() == []


def test_lost_tables_agree_again_on_a_date_of_erased_rows_that_the_backup_lacks(known: Known) -> None:
    known.kept.load([login(day=date(2026, 1, 9))], "later")
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query("TRUNCATE user_logins, user_logins_inbox")
    assert known.kept.restore().complete
    assert known.is_gone()


def test_keys_of_lost_rows_are_forgotten_and_erased_rows_stay_counted(known: Known) -> None:
    known.kept.load([login("lost")], "lost")
    known.kept.load([login(version=9)], "theirs too")
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query("DELETE FROM user_logins WHERE user_id = 'lost'")
    assert known.kept.restore(drop_lost_keys=True).complete
    assert known.is_gone()


def test_pruning_leaves_the_count_of_erased_rows(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - interval '99 days'")
    assert prune_inbox(known.kept.resource, days=30).dates == 2
    assert known.kept.keys() == []
    assert known.kept.ledger() == {
        MONDAY: {"pruned": 6, "erased": -2},
        TUESDAY: {"pruned": 3, "erased": -1},
        None: {"before": 2},
    }
    assert known.is_gone()
    assert prune_inbox(known.kept.resource, days=30).dates == 0
    known.kept.restore()
    assert known.is_gone()


def test_loss_on_the_date_of_an_erasure_is_still_damage(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query("DELETE FROM user_logins WHERE user_id = 'no locale'")
    with pytest.raises(BackupError, match=r"2026-01-05: 1 rows fewer than in the backup"):
        known.kept.back_up()
    known.kept.restore()
    assert known.is_gone()


def test_backup_whose_snapshot_is_older_than_the_erasure_does_not_bring_them_back(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files and its manifest are written after the erasure, by a host whose clock is ahead."""
    put = FolderStore.put

    def erase_and_put(self: FolderStore, name: str, content: Any) -> None:
        monkeypatch.setattr(FolderStore, "put", put)
        erase(known.kept.resource, USER, WHY, "jo")
        put(self, name, content)

    monkeypatch.setattr(FolderStore, "put", erase_and_put)
    monkeypatch.setattr("login_pipeline.backup.export.now", lambda: now() + timedelta(hours=1))
    back_up(known.kept.resource, known.kept.store, every_date=True)
    assert known.in_backup() == 3
    known.kept.query("DROP TABLE user_logins, user_logins_inbox")
    assert known.kept.restore().withheld == 3
    assert known.is_gone()


def test_restore_without_the_key_of_an_erasure_changes_nothing(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    known.kept.query("TRUNCATE user_logins")
    known.kept.pipeline.set(LOGIN_MASKING_KEY=new_key(MONDAY).written())
    with pytest.raises(ConfigurationError, match=read_key_ring(MASKING_KEY).active.id):
        known.kept.restore()
    known.kept.pipeline.set(LOGIN_MASKING_KEY=None)
    with pytest.raises(ConfigurationError, match="LOGIN_MASKING_KEY is not set"):
        known.kept.restore()
    assert known.kept.rows() == []
    known.kept.pipeline.set(LOGIN_MASKING_KEY=MASKING_KEY)
    known.kept.restore()
    known.kept.back_up()
    known.kept.pipeline.set(LOGIN_MASKING_KEY=None)
    known.kept.query("TRUNCATE user_logins")
    known.kept.restore()  # this backup has seen the erasure
    assert known.is_gone()


def test_backup_that_fails_is_told_and_made_up_for_by_the_same_command(known: Known, command: Command) -> None:
    known.kept.pipeline.set(LOGIN_BACKUP_URL="/dev/null/folder")
    code, out, err = command("forget", USER, *ASKED, "--json")
    assert (code, json.loads(out)["backed_up"], json.loads(out)["rows"]) == (1, False, 3)
    assert err.startswith("The user is erased from user_logins, and the backup in LOGIN_BACKUP_URL may still hold rows")
    assert len(err.splitlines()) == 1
    known.kept.pipeline.set(LOGIN_BACKUP_URL=str(known.kept.folder))
    assert known.in_backup() == 3
    code, out, _ = command("forget", USER, *ASKED, "--json")
    assert (code, json.loads(out)["backed_up"], json.loads(out)["rows"]) == (0, True, 0)
    assert known.in_backup() == 0
    assert known.is_gone()


KILLED = """
import os, signal, sys
from login_pipeline.cli import privacy
from login_pipeline.cli.main import main
privacy.back_up = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["login-pipeline", "forget", "-", "--reason", "ticket 4711", "--by", "jo"]
main()
"""


def test_killed_between_the_transaction_and_the_backup(known: Known, command: Command) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED], input=USER, text=True, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert known.is_gone()
    assert known.in_backup() == 3
    known.kept.query("DROP TABLE user_logins")
    assert known.kept.restore().withheld == 3
    assert known.is_gone()
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.in_backup() == 0
    assert known.is_gone()


def test_backup_that_ends_unforeseen_is_told(known: Known, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError(USER)

    monkeypatch.setattr("login_pipeline.cli.privacy.back_up", fail)
    code, _, err = command("forget", USER, *ASKED)
    assert (code, len(err.splitlines())) == (1, 2)
    assert "may still hold rows of theirs: it was cut off; then run the same command again" in err
    assert USER not in err
    assert known.is_gone()


def test_killed_within_the_transaction_erases_nothing_and_is_run_again(known: Known, command: Command) -> None:
    rows = known.kept.rows()
    known.kept.query(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    )
    known.kept.query("CREATE TRIGGER die AFTER DELETE ON user_logins EXECUTE FUNCTION die()")
    with pytest.raises(DatabaseError):
        erase(known.kept.resource, USER, WHY, "jo")
    assert known.kept.rows() == rows
    assert proofs(known.kept.resource, USER) == []
    known.kept.query("DROP TRIGGER die ON user_logins")
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.is_gone()


def test_loads_and_other_erasures_meanwhile_agree_with_the_inbox(known: Known) -> None:
    names = [f"user {number}" for number in range(6)]
    known.kept.load([login(name, version=number) for name in names for number in range(50)], "many")
    failures: list[BaseException] = []

    def work(do: Callable[[], object]) -> None:
        try:
            do()
        except BaseException as error:
            failures.append(error)

    def load() -> None:
        for number in range(30):
            known.kept.load([login(name, version=1000 + number) for name in names], f"during-{number}")

    erasures = [lambda name=name: erase(known.kept.resource, name, WHY, "jo") for name in names[:3]]
    threads = [Thread(target=work, args=[do]) for do in (load, *erasures, known.kept.restore)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert known.kept.failed_checks() == []
    for name in names[:3]:
        erase(known.kept.resource, name, WHY, "jo")
    assert {row[0] for row in known.kept.rows()} & set(names) == set(names[3:])
    assert known.kept.failed_checks() == []


def test_erasure_waits_for_a_restore_that_has_staged_its_rows(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    from login_pipeline.backup import restore as restoring

    stage, erasing = restoring._stage, Thread(target=lambda: erase(known.kept.resource, USER, WHY, "jo"))

    def stage_and_let_erase(*arguments: Any) -> int:
        withheld = stage(*arguments)
        if not erasing.ident:
            erasing.start()
            erasing.join(1)
        return withheld

    known.kept.query("TRUNCATE user_logins")
    monkeypatch.setattr(restoring, "_stage", stage_and_let_erase)
    known.kept.restore()
    erasing.join()
    assert known.is_gone()


def test_lock_that_another_session_holds_is_told(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    holder = psycopg2.connect(known.kept.pipeline.database.url)
    holder.cursor().execute("LOCK TABLE user_logins IN SHARE MODE")
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        erase(known.kept.resource, USER, WHY, "jo")
    holder.close()
    assert erase(known.kept.resource, USER, WHY, "jo").rows == 3


def test_vacuum_of_the_inbox_keeps_no_erasure_waiting(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    vacuum = psycopg2.connect(known.kept.pipeline.database.url)
    vacuum.cursor().execute("LOCK TABLE user_logins_inbox IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM locks it
    assert erase(known.kept.resource, USER, WHY, "jo").rows == 3
    vacuum.close()


def test_rights_that_lack_are_named(known: Known) -> None:
    role = f"role_{os.urandom(4).hex()}"
    query = known.kept.query
    query(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        query(f"GRANT SELECT, INSERT ON user_logins, user_logins_inbox, user_logins_dead_letters TO {role}")
        query(f"GRANT SELECT, INSERT ON user_logins_ledger TO {role}")
        url = known.kept.pipeline.database.url
        server = url.rsplit("@")[-1]
        known.kept.pipeline.set(LOGIN_DATABASE_URL=f"postgresql://{role}:p@{server}")
        query(f"GRANT SELECT, INSERT ON user_logins_erasures TO {role}")
        with pytest.raises(ConfigurationError, match="lacks DELETE on user_logins, UPDATE on user_logins_ledger; "):
            erase(known.kept.resource, USER, WHY, "jo")
        query(f"GRANT DELETE ON user_logins TO {role}")
        query(f"GRANT UPDATE ON user_logins_ledger TO {role}")
        assert erase(known.kept.resource, USER, WHY, "jo").rows == 3
        assert f"{role}, " in proofs(known.kept.resource, USER)[0].erased_by
    finally:
        query(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_only_the_erased_are_told_by_their_keys(known: Known) -> None:
    erase(known.kept.resource, USER, WHY, "jo")
    with known.kept.resource.transaction() as cursor:
        erased = erased_since(cursor, read_settings(), None)
        (proof,) = proofs(known.kept.resource, USER)
        assert erased_since(cursor, read_settings(), proof.erased_at) is None
    assert erased is not None
    rows = [login(), login("another"), (None,) * 7, *TRICKY]
    assert erased.without(rows) == rows[1:]


def test_key_of_its_own_makes_the_token() -> None:
    key = MaskingKey(bytes(range(7, 250, 7)))
    token = subject(key, "user")
    assert token == f"{key.id}.{hmac.digest(key.sub_key('login-pipeline erasure'), b'user', 'sha256').hex()}"


def test_messages_on_the_queue_are_not_touched(pipeline: Pipeline, body: Body, command: Command) -> None:
    pipeline.run()
    pipeline.queue.send(body(user_id=USER))
    assert command("forget", USER, *ASKED, "--allow-none")[0] == 0
    assert pipeline.queue.count() == 1
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 1


@pytest.mark.parametrize("arguments", [("nobody",), (f"{USER} ", "--allow-none")])
def test_user_without_a_row_is_an_error_and_nothing_is_recorded(
    known: Known, command: Command, arguments: tuple[str, ...]
) -> None:
    code, out, err = command("forget", *arguments, *ASKED)
    assert (code, out) == (1, "")
    assert err.startswith("No row ")
    assert known.kept.query("SELECT * FROM user_logins_erasures") == []
    assert command("forget", "nobody", "--allow-none", *ASKED)[0] == 0
