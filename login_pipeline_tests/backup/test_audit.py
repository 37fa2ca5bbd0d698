"""The records of erasures and unmaskings are in the backup, so that no erased user comes back from it."""

import shutil

import pyarrow.parquet as pq
import pytest

from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline.masking.keys import new_key, read_key_ring
from login_pipeline.privacy.erasure import erase, proofs
from login_pipeline_tests.backup.fixtures import MONDAY, TUESDAY, Kept
from login_pipeline_tests.conftest import MASKING_KEY, Database

USER = "user to erase 7c1d"
WHY = "ticket 4711"


@pytest.fixture
def erased(kept: Kept) -> Kept:
    """A user's rows are still in the backup's files of one date, which keeps them because it looks damaged."""
    kept.load([(USER, "ios", "m", "m", None, 1, day) for day in (MONDAY, MONDAY, TUESDAY)], "theirs")
    kept.back_up()
    kept.query("DELETE FROM user_logins WHERE user_id = 'no locale'")
    erase(kept.resource, [USER], WHY, "jo")
    with pytest.raises(BackupError, match="2026-01-05: 1 rows fewer"):
        kept.back_up()
    return kept


def audit(kept: Kept) -> list[list[tuple[object, ...]]]:
    return [
        kept.query("SELECT * FROM user_logins_erasures ORDER BY 1"),
        kept.query("SELECT * FROM user_logins_unmaskings ORDER BY 1"),
    ]


def unmask(kept: Kept, *reasons: str) -> None:
    kept.query(
        "INSERT INTO user_logins_unmaskings (unmasked_at, operator, reason, masks, unmasked) "
        "SELECT '2026-01-07 08:09:10.123456Z', 'person', reason, 2, 1 FROM unnest(%s) AS reason",
        list(reasons),
    )


def of_user(kept: Kept) -> int:
    return sum(row[0] == USER for row in kept.rows())


def test_older_file_of_a_date_brings_nobody_back_into_a_new_database(erased: Kept, other: Database) -> None:
    before = audit(erased)
    erased.move_to(other)
    foreseen = erased.restore(dry_run=True)
    restored = erased.restore()
    assert of_user(erased) == 0
    assert (foreseen.withheld, foreseen.audit_records_added) == (2, 1)
    assert (restored.withheld, restored.audit_records_added) == (2, 1)
    assert [(proof.rows, proof.reason) for proof in proofs(erased.resource, USER)] == [(3, WHY)]
    assert audit(erased) == before
    assert erased.agrees()


def test_older_copy_of_a_backup_does_not_pass_for_a_whole_restore(kept: Kept, other: Database) -> None:
    """It cannot know of the erasure, and says so."""
    kept.load([(USER, "ios", "m", "m", None, 1, MONDAY)], "theirs")
    kept.back_up()
    older = kept.folder.with_name("older")
    shutil.copytree(kept.folder, older)
    erase(kept.resource, [USER], WHY, "jo")
    kept.back_up()
    kept.move_to(other)
    kept.folder = older
    restored = kept.restore()
    assert not restored.complete
    assert "run `login-pipeline forget` for them again" in next(restored.advice())


def test_erasure_here_is_kept_to_by_a_backup_of_elsewhere_however_late_that_is(kept: Kept, other: Database) -> None:
    """The other database knows of a later erasure, and never erased this user."""
    first = kept.database
    kept.load([(USER, "ios", "m", "m", None, 1, MONDAY)], "theirs")
    kept.move_to(other)
    kept.resource.prepare()
    erase(kept.resource, [USER], WHY, "jo", allow_none=True)
    kept.move_to(first)
    erase(kept.resource, ["plain"], WHY, "jo")
    kept.back_up()
    kept.move_to(other)
    assert kept.restore(take_over=True).withheld == 1
    assert of_user(kept) == 0


def test_manifest_that_knows_an_erasure_without_its_proof_is_refused(kept: Kept, other: Database) -> None:
    kept.load([(USER, "ios", "m", "m", None, 1, MONDAY)], "theirs")
    kept.back_up()
    without = kept.manifest.audit
    files = {each.name: (kept.folder / each.name).read_bytes() for each in without.values()}
    erase(kept.resource, [USER], WHY, "jo")
    kept.back_up()
    for name, content in files.items():
        (kept.folder / name).write_bytes(content)
    (kept.folder / "manifest.json").write_bytes(kept.manifest.model_copy(update={"audit": without}).to_json())
    kept.restore()  # this database has the proof
    kept.move_to(other)
    with pytest.raises(BackupError, match="neither user_logins_erasures nor the backup has its proof"):
        kept.restore()
    assert kept.query("SELECT to_regclass('user_logins')") == [(None,)]


def test_key_of_an_erasure_is_needed_only_for_files_that_have_not_seen_it(erased: Kept, other: Database) -> None:
    erased.move_to(other)
    erased.set(LOGIN_MASKING_KEY=new_key(MONDAY).written())
    active = read_key_ring(MASKING_KEY).active.id
    with pytest.raises(ConfigurationError, match=f"{active}, without which their rows cannot be recognised"):
        erased.restore()
    erased.set(LOGIN_MASKING_KEY=None)
    with pytest.raises(ConfigurationError, match="LOGIN_MASKING_KEY is not set"):
        erased.restore()
    erased.set(LOGIN_MASKING_KEY=MASKING_KEY)
    assert erased.query("SELECT to_regclass('user_logins')") == [(None,)]
    erased.restore()
    erased.back_up(take_over=True)
    erased.set(LOGIN_MASKING_KEY=None)
    erased.query("TRUNCATE user_logins")
    assert erased.restore().complete
    assert of_user(erased) == 0


def test_records_that_the_database_lost_stay_in_the_backup_and_come_back(erased: Kept) -> None:
    erased.restore()
    unmask(erased, "one", "one", "two")  # two records can be equal
    erased.back_up()
    before = audit(erased)
    erased.query("DROP TABLE user_logins_erasures, user_logins_unmaskings")
    erased.resource.prepare()
    unmask(erased, "three")
    three = audit(erased)[1]
    with pytest.raises(BackupError, match=r"user_logins_erasures: 1 records fewer.*unmaskings: 2 records fewer"):
        erased.back_up()
    assert erased.restore().audit_records_added == 4
    assert audit(erased)[0] == before[0]
    assert sorted(audit(erased)[1]) == sorted([*before[1], *three])
    assert erased.restore().audit_records_added == 0
    erased.back_up()


def test_column_of_a_type_that_no_file_holds_is_named(kept: Kept) -> None:
    kept.query("ALTER TABLE user_logins_erasures ADD COLUMN ticket uuid")
    with pytest.raises(
        BackupError, match=r"Column ticket of user_logins_erasures has a type .+ make it one of boolean, "
    ):
        kept.back_up()


def test_backup_follows_the_audit_tables_columns(kept: Kept, other: Database) -> None:
    kept.query(
        "ALTER TABLE user_logins_unmaskings ADD COLUMN person text, ADD COLUMN since date, ADD COLUMN ok boolean"
    )
    unmask(kept, "one")
    kept.back_up()
    stored = pq.read_table(kept.folder / kept.manifest.audit["user_logins_unmaskings"].name)
    assert stored.column_names[-4:] == ["subject", "person", "since", "ok"]
    before = audit(kept)
    kept.query("DROP TABLE user_logins")
    kept.query("ALTER TABLE user_logins_unmaskings DISABLE TRIGGER ALL; DELETE FROM user_logins_unmaskings")
    assert kept.restore().audit_records_added == 1
    assert audit(kept) == before
