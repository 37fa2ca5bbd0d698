"""A user who is erased is gone from the table and the backup, stays gone, and leaves proof that names nobody."""

import hmac
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from login_pipeline.backup.export import back_up, now
from login_pipeline.backup.store import FolderStore
from login_pipeline.cli.doctor import examine
from login_pipeline.errors import BackupError, ConfigurationError, DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.masking.keys import MaskingKey, new_key, read_key_ring
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.erased_logins import erased_among
from login_pipeline.postgres.session import InterruptibleCursor
from login_pipeline.privacy import erasure
from login_pipeline.privacy.erasure import Erasure, erase, erased_since, proofs
from login_pipeline.privacy.request import subject
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline_tests.backup.fixtures import MONDAY, TRICKY, TUESDAY, Kept, wait_until
from login_pipeline_tests.conftest import MASKING_KEY, Command, Pipeline
from login_pipeline_tests.envelopes import notification

Body = Callable[..., str]
USER = "user to erase 7c1d"
WHY = "ticket 4711"
ASKED = ("--reason", WHY, "--by", "jo")
COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def login(user_id: str = USER, day: Any = MONDAY, version: int = 1) -> tuple[Any, ...]:
    return (user_id, "ios", "m", "m", None, version, day)


@dataclass
class Known(Kept):
    """The database with its backup, and what it has of everybody else."""

    others: list[tuple[Any, ...]]

    def erase(self, user_id: str = USER, **options: bool) -> Erasure:
        return erase(self.resource, [user_id], WHY, "jo", **options)[0]

    def proofs(self) -> list[Erasure]:
        return proofs(self.resource, USER)

    def is_gone(self) -> bool:
        return self.rows() == self.others and self.agrees()

    def in_backup(self) -> int:
        tables = [pq.read_table(self.folder / each.rows.name) for each in self.manifest.dates]
        files = len(list(self.folder.glob("user_logins*.parquet")))
        assert files == 2 * len(tables) + 2  # of the audit tables
        return sum(table.column("user_id").to_pylist().count(USER) for table in tables)


@pytest.fixture
def known(pipeline: Pipeline, kept: Kept) -> Known:
    """The user has three rows of two dates, among others; all is backed up."""
    others = kept.rows()
    kept.load([login(), login(), login(day=TUESDAY)], "theirs")
    kept.back_up()
    return Known(**vars(kept), others=others)


def test_forgotten_user_is_gone_from_the_table_and_the_backup(known: Known, command: Command) -> None:
    before = known.rows(), known.keys()
    code, out, _ = command("forget", USER, "--dry-run", "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["dates"]) == (0, 3, 2)
    assert ((known.rows(), known.keys()), known.proofs(), known.in_backup()) == (before, [], 3)
    code, out, err = command("forget", USER, *ASKED, "--json")
    assert (code, err) == (0, "")
    figures = json.loads(out)
    assert (figures["rows"], figures["backed_up"], figures["dead_letters"]) == (3, True, 0)
    assert [(each["rows"], each["dates"]) for each in figures["erasures"]] == [(3, 2)]
    assert "or are redriven, get no row" in figures["note"]
    assert known.is_gone()
    assert known.in_backup() == 0
    assert known.restore().touched == []
    assert known.is_gone()
    assert known.back_up().files_written == 0


def test_published_table_needs_a_replica_identity_which_ours_has(
    known: Known, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.query("CREATE PUBLICATION everything FOR ALL TABLES")
    assert command("prepare")[2] == ""
    known.query("ALTER TABLE user_logins REPLICA IDENTITY DEFAULT")
    remedy = "ALTER TABLE user_logins REPLICA IDENTITY FULL"
    code, _, err = command("prepare")
    assert (code, err.count(f"have the tables' owner run: {remedy};\n")) == (0, 1)
    (database,) = (each for each in examine() if each.subject == "database")
    assert not database.well
    assert database.says.endswith(f"have the tables' owner run: {remedy};")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("login_pipeline.transport_security.is_loopback", lambda _host: False)
        (database,) = (each for each in examine() if each.subject == "database")
    assert "(not encrypted): add sslmode=verify-full to LOGIN_DATABASE_URL; The database publishes" in database.says
    code, _, err = command("forget", USER, *ASKED)
    assert (code, remedy in err) == (1, True)
    known.query(remedy)
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.is_gone()


def test_proof_names_nobody_and_is_shown_to_who_has_the_key_and_the_id(known: Known, command: Command) -> None:
    code, out, err = command("forget", USER, "--proof")
    assert (code, out) == (1, "")
    assert err.startswith("No erasure of this user is recorded")
    command("forget", USER, *ASKED)
    ((stored,),) = known.query("SELECT to_jsonb(e) FROM user_logins_erasures AS e")
    (key,) = read_key_ring(MASKING_KEY)
    assert stored["subject"] == subject(key, USER) != subject(new_key(MONDAY), USER)
    assert stored["subject"].startswith(f"{key.id}.")
    assert ", " in stored["erased_by"]
    assert USER not in json.dumps(stored) + str((known.keys(), known.ledger()))
    code, out, _ = command("forget", USER, "--proof", "--json")
    (proof,) = json.loads(out)["erasures"]
    assert (code, proof["rows"], proof["dates"], proof["reason"]) == (0, 3, 2, WHY)
    assert command("forget", "somebody else", "--proof", "--json")[0] == 1


def test_proof_under_an_older_key_is_found(known: Known) -> None:
    known.erase()
    ring = read_key_ring(MASKING_KEY).rotated(MONDAY)
    known.set(LOGIN_MASKING_KEY=" ".join(key.written() for key in ring))
    assert len(known.proofs()) == 1
    known.set(LOGIN_MASKING_KEY=ring.active.written())
    assert known.proofs() == []


def test_proof_is_only_added_to(known: Known) -> None:
    known.erase()
    for change in ("UPDATE {} SET reason = 'another'", "DELETE FROM {}", "TRUNCATE {}"):
        with pytest.raises(psycopg2.errors.RestrictViolation):
            known.query(change.format("user_logins_erasures"))
    assert len(known.proofs()) == 1


def test_user_s_id_is_in_no_statement(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL logs statements that are slow, that fail, or all of them; parameters of psycopg2 are in their text."""
    statements_sent: list[str] = []
    execute = InterruptibleCursor.execute

    def watched(cursor: InterruptibleCursor, query: Any, parameters: Any = None) -> None:
        execute(cursor, query, parameters)
        statements_sent.append((cursor.query or b"").decode())

    monkeypatch.setattr(InterruptibleCursor, "execute", watched)
    known.erase()
    erasure.count_rows_of(known.resource, [USER])
    known.proofs()
    assert any("DELETE FROM user_logins" in statement for statement in statements_sent)
    assert not any(USER in statement for statement in statements_sent)


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


def test_what_cannot_be_is_refused_in_one_sentence_that_quotes_nothing(known: Known, command: Command) -> None:
    refusals: list[tuple[tuple[str, ...], int, str]] = [
        ((USER,), 2, "say why with --reason"),
        ((USER, "--by", "jo", "--reason", "asked by jo@example.com"), 2, "name the request instead"),
        (ASKED, 2, "name USER_IDs"),
        (("plain", f"--{USER}", "another", *ASKED), 1, "No row in user_logins has the USER_ID at place 2, 3"),
        ((" ", *ASKED), 2, "The USER_ID is not one"),
        (("x" * 129, *ASKED), 2, "The USER_ID is not one"),
        (("\udcff", *ASKED), 2, "The USER_ID is not one"),
        ((USER, "--by", "jo", "--reason", " "), 2, "The reason is blank"),
        ((USER, "--by", "jo", "--reason", f"{USER.upper()} asked for it"), 2, "The reason names the user"),
        (("nobody", *ASKED), 1, "No row in user_logins has this USER_ID"),
        ((f"{USER} ", "--allow-none", *ASKED), 1, "No row has this USER_ID, which begins or ends with a blank"),
    ]
    rows = known.rows()
    for arguments, exit_code, sentence in refusals:
        code, out, err = command("forget", *arguments)
        assert (code, out, sentence in err, USER in err) == (exit_code, "", True, False), sentence
    assert known.rows() == rows
    assert known.query("SELECT * FROM user_logins_erasures") == []
    assert command("forget", "nobody", "--allow-none", *ASKED)[0] == 0


def test_user_id_that_begins_with_a_dash_is_erased(known: Known, command: Command) -> None:
    known.load([login("-7")], "dash")
    code, out, _ = command("forget", "-7", *ASKED, "--json")
    assert (code, json.loads(out)["rows"]) == (0, 1)


def test_key_is_needed_for_any_masks(known: Known, command: Command) -> None:
    known.set(LOGIN_MASKING_METHOD="sha256", LOGIN_MASKING_KEY=None)
    code, _, err = command("forget", USER, *ASKED)
    assert code == 2
    assert err.startswith("LOGIN_MASKING_KEY is not set")
    assert "the proof of an erasure is keyed, with any LOGIN_MASKING_METHOD" in err


def test_odd_user_ids_are_erased_exactly(known: Known) -> None:
    for number, user_id in enumerate((TRICKY[4][0], TRICKY[3][0], "plain", "\\.")):
        known.load([login(user_id), login(user_id + "."), login("x" + user_id)], f"odd {number}")
        theirs = sum(row[0] == user_id for row in known.rows())
        assert known.erase(user_id).rows == theirs > 0
        assert sum(str(row[0]).startswith(user_id) for row in known.rows()) == 1
    assert known.agrees()


def test_rows_from_before_the_inbox_and_without_a_date_are_erased_and_counted(kept: Kept) -> None:
    kept.back_up()
    assert erase(kept.resource, ["old"], WHY, "jo")[0].rows == 1
    assert kept.ledger() == {None: {"before": 2, "erased": -1}}
    assert kept.agrees()
    kept.restore()
    assert "old" not in [row[0] for row in kept.rows()]
    kept.back_up()
    assert kept.agrees()


def test_user_who_has_no_row_is_recorded_so_that_no_backup_brings_them(known: Known) -> None:
    known.query("DELETE FROM user_logins WHERE user_id = %s", USER)
    assert known.erase(allow_none=True).rows == 0
    assert known.restore().withheld == 3
    assert known.is_gone()


def test_later_login_of_the_same_user_loads_and_is_erased_again(known: Known) -> None:
    known.erase()
    known.load([login(version=2)], "later")
    known.load([login()], "theirs")  # delivered again
    assert [row[5] for row in known.rows() if row[0] == USER] == [2]
    assert known.agrees()
    known.back_up()
    assert known.in_backup() == 1
    known.query("DROP TABLE user_logins, user_logins_inbox")
    known.restore()
    assert [row[5] for row in known.rows() if row[0] == USER] == [2]
    assert known.erase().rows == 1
    known.restore()
    assert known.is_gone()
    assert [each.rows for each in known.proofs()] == [3, 1]


# Of the tables together: one alone is created again empty, as if it had been truncated. Without its inbox a table has
# rows of before it.
LOSSES = [
    "SELECT",
    "DROP TABLE user_logins_inbox",
    "DROP TABLE user_logins, user_logins_inbox",
    "TRUNCATE user_logins",
    "TRUNCATE user_logins_inbox",
    "DELETE FROM user_logins WHERE user_id = 'plain'",
    "DELETE FROM user_logins_ledger WHERE entry = 'erased'",
    "DELETE FROM user_logins_inbox WHERE message_id LIKE 'theirs%'",
    "UPDATE user_logins_ledger SET rows = -1 WHERE entry = 'erased'",
]


@pytest.mark.parametrize("loss", LOSSES)
def test_restore_from_an_older_backup_does_not_bring_them_back(known: Known, loss: str) -> None:
    known.erase()
    known.query(loss)
    foreseen = known.restore(dry_run=True)
    restored = known.restore()
    assert (foreseen.touched, foreseen.withheld) == (restored.touched, restored.withheld)
    assert restored.withheld == 3
    assert restored.complete
    assert known.is_gone()
    assert known.restore().touched == []
    known.back_up()
    assert known.in_backup() == 0
    known.query("DROP TABLE user_logins, user_logins_inbox")
    known.restore()
    assert known.is_gone()


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "TRUNCATE user_logins_inbox"])
def test_restore_after_two_erasures_around_a_backup(known: Known, loss: str) -> None:
    """Others are in the backup that has seen the first erasure; the second one is of rows before and after it."""
    known.erase("plain")
    known.back_up()
    known.load([login(version=9), login("new", version=9)], "later")
    known.erase()
    known.query(loss.replace("'plain'", "'no locale'"))
    restored = known.restore(drop_lost_keys=True)
    rows = [row for row in known.others if row[0] != "plain"]
    assert [row for row in known.rows() if row[0] != "new"] == rows
    new_is_lost = re.match(r"(DROP TABLE|TRUNCATE) user_logins(,|$)", loss) is not None
    assert (login("new", version=9) in known.rows()) is not new_is_lost
    if "erased" in loss:  # that one of the rows was loaded after the backup, only that counter knew
        assert restored.total("rows_lost") == 1
        assert not known.agrees()
    else:
        assert known.agrees()


def test_lost_tables_agree_again_on_a_date_of_erased_rows_that_the_backup_lacks(known: Known) -> None:
    known.load([login(day=date(2026, 1, 9))], "later")
    known.erase()
    known.query("TRUNCATE user_logins, user_logins_inbox")
    assert known.restore().complete
    assert known.is_gone()


def test_keys_of_lost_rows_are_forgotten_and_erased_rows_stay_counted(known: Known) -> None:
    known.load([login("lost")], "lost")
    known.load([login(version=9)], "theirs too")
    known.erase()
    known.query("DELETE FROM user_logins WHERE user_id = 'lost'")
    assert known.restore(drop_lost_keys=True).complete
    assert known.is_gone()


def test_pruning_leaves_the_count_of_erased_rows(known: Known) -> None:
    known.erase()
    known.query("UPDATE user_logins_inbox SET loaded_at = loaded_at - interval '99 days'")
    assert prune_inbox(known.resource, days=30).dates == 2
    assert known.keys() == []
    assert known.ledger() == {
        MONDAY: {"pruned": 6, "erased": -2},
        TUESDAY: {"pruned": 3, "erased": -1},
        None: {"before": 2},
    }
    assert known.is_gone()
    assert prune_inbox(known.resource, days=30).dates == 0
    known.restore()
    assert known.is_gone()


def test_loss_on_the_date_of_an_erasure_is_still_damage(known: Known) -> None:
    known.erase()
    known.query("DELETE FROM user_logins WHERE user_id = 'no locale'")
    with pytest.raises(BackupError, match=r"2026-01-05: 1 rows fewer than in the backup"):
        known.back_up()
    known.restore()
    assert known.is_gone()


def test_backup_whose_snapshot_is_older_than_the_erasure_does_not_bring_them_back(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files and its manifest are written after the erasure, by a host whose clock is ahead."""
    put = FolderStore.put

    def erase_and_put(self: FolderStore, name: str, content: Any) -> None:
        monkeypatch.setattr(FolderStore, "put", put)
        known.erase()
        put(self, name, content)

    monkeypatch.setattr(FolderStore, "put", erase_and_put)
    monkeypatch.setattr("login_pipeline.backup.export.now", lambda: now() + timedelta(hours=1))
    back_up(known.resource, known.store, every_date=True)
    assert known.in_backup() == 3
    known.query("DROP TABLE user_logins, user_logins_inbox")
    assert known.restore().withheld == 3
    assert known.is_gone()


def test_erasure_that_ends_before_its_backup_is_completed_by_the_same_command(
    known: Known, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(USER)

    known.set(LOGIN_BACKUP_URL="/dev/null/folder")
    code, out, err = command("forget", USER, *ASKED, "--json")
    assert (code, json.loads(out)["backed_up"], json.loads(out)["rows"]) == (1, False, 3)
    assert err.startswith(
        "The rows are erased from user_logins, and the backup in LOGIN_BACKUP_URL may still hold rows"
    )
    assert len(err.splitlines()) == 1
    known.set(LOGIN_BACKUP_URL=str(known.folder))
    with monkeypatch.context() as broken:
        broken.setattr("login_pipeline.cli.privacy.back_up", fail)
        code, _, err = command("forget", USER, *ASKED)
    assert (code, len(err.splitlines())) == (1, 2)
    assert "may still hold rows of theirs: it was cut off; then run the same command again" in err
    assert USER not in err
    assert known.is_gone()
    assert known.in_backup() == 3
    known.query("DROP TABLE user_logins")
    assert known.restore().withheld == 3
    assert known.is_gone()
    code, out, _ = command("forget", USER, *ASKED, "--json")
    assert (code, json.loads(out)["backed_up"], json.loads(out)["rows"]) == (0, True, 0)
    assert known.in_backup() == 0
    assert known.is_gone()


def test_killed_within_the_transaction_erases_nothing_and_is_run_again(known: Known, command: Command) -> None:
    rows = known.rows()
    known.query(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    )
    known.query("CREATE TRIGGER die AFTER DELETE ON user_logins EXECUTE FUNCTION die()")
    with pytest.raises(DatabaseError):
        known.erase()
    assert known.rows() == rows
    assert known.proofs() == []
    known.query("DROP TRIGGER die ON user_logins")
    assert command("forget", USER, *ASKED)[0] == 0
    assert known.is_gone()


def test_loads_and_other_erasures_at_once_agree_with_the_inbox(known: Known) -> None:
    names = [f"user {number}" for number in range(6)]
    known.load([login(name, version=number) for name in names for number in range(50)], "many")

    def load() -> None:
        for number in range(30):
            known.load([login(name, version=1000 + number) for name in names], f"during-{number}")

    erasures = [partial(known.erase, name) for name in names[:3]]
    tasks: list[Callable[[], object]] = [load, *erasures, known.restore]
    with ThreadPoolExecutor(len(tasks)) as pool:
        list(pool.map(lambda task: task(), tasks))
    assert known.agrees()
    for name in names[:3]:
        known.erase(name)
    assert {row[0] for row in known.rows()} & set(names) == set(names[3:])
    assert known.agrees()


def test_erasure_waits_for_a_restore_that_has_staged_its_rows(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    from login_pipeline.backup import restore as restoring

    stage, erasing = restoring._stage, Thread(target=lambda: known.erase())

    def stage_and_let_erase(*arguments: Any) -> int:
        withheld = stage(*arguments)
        if not erasing.ident:
            erasing.start()
            erasing.join(1)
        return withheld

    known.query("TRUNCATE user_logins")
    monkeypatch.setattr(restoring, "_stage", stage_and_let_erase)
    known.restore()
    erasing.join()
    assert known.is_gone()


def test_lock_on_the_table_is_reported_and_a_vacuum_of_the_inbox_keeps_nothing_waiting(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.postgres.database.LOCK_SECONDS", 0.1)
    holder = psycopg2.connect(known.database.url)
    holder.cursor().execute("LOCK TABLE user_logins IN SHARE MODE")
    with pytest.raises(DatabaseError, match="a table is locked by another session"):
        known.erase()
    holder.rollback()
    holder.cursor().execute("LOCK TABLE user_logins_inbox IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM locks it
    assert known.erase().rows == 3
    holder.close()


def test_rights_that_lack_are_named(known: Known) -> None:
    role = f"role_{os.urandom(4).hex()}"
    query = known.query
    query(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    try:
        query(f"GRANT SELECT, INSERT ON user_logins, user_logins_inbox, user_logins_dead_letters TO {role}")
        query(f"GRANT SELECT, INSERT ON user_logins_ledger TO {role}")
        url = known.database.url
        server = url.rsplit("@")[-1]
        known.set(LOGIN_DATABASE_URL=f"postgresql://{role}:p@{server}")
        query(f"GRANT SELECT, INSERT ON user_logins_erasures TO {role}")
        with pytest.raises(ConfigurationError, match="lacks DELETE on user_logins, UPDATE on user_logins_ledger; "):
            known.erase()
        query(f"GRANT DELETE ON user_logins TO {role}")
        query(f"GRANT UPDATE ON user_logins_ledger TO {role}")
        assert known.erase().rows == 3
        assert f"{role}, " in known.proofs()[0].erased_by
    finally:
        query(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_only_the_erased_are_reported_by_their_keys(known: Known) -> None:
    known.erase()
    with known.resource.transaction() as cursor:
        erased = erased_since(cursor, read_settings(), None)
        (proof,) = known.proofs()
        assert erased_since(cursor, read_settings(), proof.erased_at) is None
    assert erased is not None
    rows = [login(), login("another"), (None,) * 7, *TRICKY]
    assert erased.without(rows) == rows[1:]


def test_key_of_its_own_makes_the_token() -> None:
    key = MaskingKey(bytes(range(7, 250, 7)))
    token = subject(key, "user")
    assert token == f"{key.id}.{hmac.digest(key.sub_key('login-pipeline erasure'), b'user', 'sha256').hex()}"


def test_many_users_are_erased_at_once_each_with_a_proof(known: Known, command: Command) -> None:
    known.others = [row for row in known.others if row[0] != "plain"]
    code, out, err = command("forget", USER, "plain", USER, *ASKED, "--json")
    assert (code, err) == (0, "")
    assert [each["rows"] for each in json.loads(out)["erasures"]] == [3, 2]
    assert known.is_gone()
    code, out, _ = command("forget", USER, "plain", "--proof", "--json")
    assert (code, [each["rows"] for each in json.loads(out)["erasures"]]) == (0, [3, 2])


def test_user_ids_are_read_from_the_lines_of_stdin(known: Known) -> None:
    ended = subprocess.run(
        [COMMAND, "forget", "-", "--dry-run", "--json"], input=f"{USER}\r\n\nplain\n", text=True, capture_output=True
    )
    assert json.loads(ended.stdout) == {"dry_run": True, "users": 2, "rows": 5, "dates": 2}


def test_login_that_was_sent_before_the_erasure_gets_no_row_and_a_later_one_does(
    pipeline: Pipeline, body: Body, command: Command
) -> None:
    assert command("prepare")[0] == 0
    pipeline.queue.send(body(user_id=USER), body(user_id="another"))
    assert command("forget", USER, *ASKED, "--allow-none")[0] == 0
    figures = pipeline.run().metadata["user_logins_table"]
    assert (figures["loaded"], figures["erased"], figures["deleted"]) == (1, 1, 2)
    assert [row[0] for row in pipeline.database.logins()] == ["another"]
    assert pipeline.queue.count() == 0
    pipeline.queue.send(body(user_id=USER))
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 1
    assert pipeline.run("user_logins_checks_job").passed


def test_dead_letter_that_is_redriven_after_the_erasure_brings_no_row_back(
    pipeline: Pipeline, body: Body, command: Command
) -> None:
    """A redrive held it while the dead-letter queue was looked through."""
    LoginDatabase(read_settings()).prepare()
    pipeline.database.query("ALTER TABLE user_logins ADD CONSTRAINT no CHECK (app_version <> 7)")
    pipeline.queue.send(body(user_id=USER, app_version="7"), body(user_id="another"))
    assert pipeline.run().failures == []
    pipeline.database.query("ALTER TABLE user_logins DROP CONSTRAINT no")
    dead_letters = LoginQueues(read_settings()).dead_letter_queue
    held, _ = dead_letters.receive(10)
    code, _, err = command("forget", USER, *ASKED, "--allow-none")
    assert (code, "1 messages on the dead-letter queue were in flight" in err) == (1, True)
    assert len(held) == 1
    dead_letters.release(lambda _: 0)
    code, out, _ = command("redrive", "--json")
    assert (code, json.loads(out)["sent_back"]) == (0, 1)
    figures = pipeline.run().metadata["user_logins_table"]
    assert (figures["loaded"], figures["erased"]) == (0, 1)
    assert [row[0] for row in pipeline.database.logins()] == ["another"]
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (0, 0)


def test_dead_letters_of_the_users_are_deleted_and_those_of_others_stay(
    pipeline: Pipeline, body: Body, command: Command
) -> None:
    theirs = [
        body(user_id=USER, ip="nonsense"),
        body(user_id=USER, ip="nonsense")[:-9],
        f'{{"user_id": "another", "user_id" : "{USER}"}}',
        body(user_id=USER).replace("user_id", "user\\u005fid"),
        notification(body(user_id=USER, ip="nonsense")),
    ]
    others = [body(user_id=f"{USER}!", ip="nonsense"), f'{{"device_id": "{USER}"}}', "no JSON"]
    pipeline.dead_letter_queue.send(*theirs, *others)
    LoginDatabase(read_settings()).prepare()
    code, out, _ = command("forget", USER, *ASKED, "--allow-none", "--json")
    assert (code, json.loads(out)["dead_letters"]) == (0, len(theirs))
    assert sorted(letter["Body"] for letter in pipeline.dead_letter_queue.take_all()) == sorted(others)


def test_dead_letter_queue_that_cannot_be_used_is_named_after_the_rows_are_gone(known: Known, command: Command) -> None:
    known.set(LOGIN_DEAD_LETTER_QUEUE_URL=None)
    code, out, err = command("forget", USER, *ASKED, "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["dead_letters"]) == (1, 3, None)
    assert "the dead-letter queue may still hold messages of theirs: LOGIN_DEAD_LETTER_QUEUE_URL is not set" in err
    assert known.is_gone()


def test_load_that_began_before_the_erasure_is_waited_for_and_erased_too(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has asked who is erased, and commits its row when the erasure is done."""
    asked, goes_on = Event(), Event()

    def ask_and_wait(*arguments: Any) -> frozenset[str]:
        erased = erased_among(*arguments)
        asked.set()
        assert goes_on.wait(60)
        return erased

    monkeypatch.setattr("login_pipeline.postgres.database.erased_among", ask_and_wait)
    load = partial(known.resource.load, [(*login(version=2), "late")], seconds=60, sent={"late": 0})
    erased: list[Erasure] = []
    threads = [Thread(target=load), Thread(target=lambda: erased.extend(erase(known.resource, [USER], WHY, "jo")))]
    threads[0].start()
    assert asked.wait(60)
    threads[1].start()
    wait_until(lambda: len(known.proofs()) == 1)
    threads[1].join(1)
    goes_on.set()
    for thread in threads:
        thread.join()
    assert [each.rows for each in erased] == [3, 1]
    assert known.is_gone()


def test_login_waits_on_the_queue_while_the_key_of_an_erasure_is_not_there(known: Known) -> None:
    known.erase()
    known.set(LOGIN_MASKING_KEY=new_key(MONDAY).written())
    with pytest.raises(
        ConfigurationError, match="Users were erased since these messages were sent under the masking key"
    ):
        known.resource.load([(*login(), "late")], seconds=60, sent={"late": 0})
    assert known.is_gone()
