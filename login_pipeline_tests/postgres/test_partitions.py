"""A user_logins that is partitioned by month has its partitions ahead of time, and loses them whole."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions
from psycopg2.errors import InsufficientPrivilege

from login_pipeline.backup import export
from login_pipeline.backup.identity import read_manifest
from login_pipeline.backup.manifest import Manifest
from login_pipeline.backup.store import BackupStore
from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.partitions import (
    Month,
    add_months,
    drop_month,
    first_uncovered_date,
    missing_months,
    months_over,
)
from login_pipeline.postgres.tables import replication_problem
from login_pipeline.privacy import expiry
from login_pipeline.privacy.erasure import erase
from login_pipeline.privacy.expiry import Expired, expire
from login_pipeline.settings import read_settings
from login_pipeline_tests.backup.fixtures import Kept, wait_until, waits_for_a_lock
from login_pipeline_tests.conftest import Command, Database, Pipeline
from login_pipeline_tests.roles import roles_of

TODAY = datetime.now(UTC).date()
THIS_MONTH = TODAY.replace(day=1)
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)
# Of three dates in two months that are long over.
OLD = [date(2026, 1, 5), date(2026, 1, 6), date(2026, 2, 28)]
# Keeps OLD[2]'s month, and neither of the other dates.
DAYS = (TODAY - date(2026, 2, 1)).days


def month_after(day: date, months: int = 1) -> date:
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def named(month: date) -> str:
    return f"user_logins_{month:%Y_%m}"


NEXT_MONTH = month_after(THIS_MONTH)
AHEAD = [named(month_after(THIS_MONTH, months)) for months in range(3)]


def row(day: date, number: int = 0, user: str = "ann") -> tuple[Any, ...]:
    return (user, "ios", "m", "m", None, number, day)


def partitions(of: Kept | Database) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass('user_logins') ORDER BY 1"
    return [name for (name,) in of.query(query)]


@pytest.fixture
def monthly(empty: Kept) -> Kept:
    """With no row; user_logins is partitioned by month."""
    empty.query("DROP TABLE user_logins")
    empty.resource.prepare(partitioned=True)
    return empty


@pytest.fixture
def old(monthly: Kept) -> Kept:
    """With four rows of OLD, and one of today."""
    with monthly.resource.transaction() as cursor:
        assert add_months(cursor, of=OLD[0]) + add_months(cursor, of=OLD[2]) == [named(OLD[0]), named(OLD[2])]
    monthly.load([row(day, number) for number, day in enumerate([*OLD, OLD[0], TODAY])])
    monthly.back_up()
    return monthly


def test_prepare_makes_a_partition_for_each_month_that_a_message_can_be_of(
    database: Database, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    assert command("prepare", "--partitioned")[0] == 0
    made = partitions(database)
    assert made[-3:] == AHEAD
    assert made[0] == named((TODAY - timedelta(days=28)).replace(day=1))
    load = LoginDatabase(read_settings()).load
    oldest = TODAY - timedelta(days=28)
    assert load([(*row(oldest), "oldest"), (*row(TODAY), "newest")], seconds=30) == Loaded(2, 0, {})
    assert command("prepare", "--partitioned")[0] == 0
    assert command("check")[0] == 0
    assert partitions(database) == made


def test_table_that_is_there_is_not_partitioned(empty: Kept, command: Command) -> None:
    code, _, err = command("prepare", "--partitioned")
    assert (code, partitions(empty)) == (2, [])
    assert "user_logins in LOGIN_DATABASE_URL exists already, and is not partitioned by month" in err


@pytest.mark.parametrize(
    "somebody_s",
    [
        "PARTITION BY RANGE (create_date); CREATE TABLE part PARTITION OF user_logins DEFAULT",
        "PARTITION BY RANGE (create_date); "
        "CREATE TABLE part PARTITION OF user_logins FOR VALUES FROM ('2026-01-01') TO ('2028-01-01')",
        "PARTITION BY RANGE (device_type); CREATE TABLE part PARTITION OF user_logins FOR VALUES FROM ('i') TO ('j')",
        "PARTITION BY LIST (device_type); CREATE TABLE part PARTITION OF user_logins FOR VALUES IN ('ios')",
    ],
)
def test_partitions_of_another_kind_are_left_alone(empty: Kept, somebody_s: str) -> None:
    empty.query(f"ALTER TABLE user_logins RENAME TO plain; CREATE TABLE user_logins (LIKE plain) {somebody_s}")
    empty.resource.prepare()
    empty.load([row(OLD[0])])
    assert expire(empty.resource, days=1) == Expired(1, 1)
    assert partitions(empty) == ["part"]


@pytest.mark.parametrize(
    "somebody_s",
    [
        f"DROP TABLE {AHEAD[2]}; CREATE TABLE part PARTITION OF user_logins FOR VALUES "
        f"FROM ('{month_after(THIS_MONTH, 2) + timedelta(days=20)}') TO (MAXVALUE)",
        f"DROP TABLE {AHEAD[2]}; CREATE TABLE part PARTITION OF user_logins DEFAULT",
        f"ALTER TABLE user_logins DETACH PARTITION {AHEAD[2]}",
    ],
    ids=["overlaps", "default", "detached"],
)
def test_month_that_cannot_be_added_stops_nothing(monthly: Kept, somebody_s: str) -> None:
    monthly.query(somebody_s)
    monthly.load([row(month_after(THIS_MONTH, 2))])  # none of the default one's can get into the month any longer
    before = partitions(monthly)
    monthly.resource.prepare()
    assert monthly.resource.check() == []
    prune_inbox(monthly.resource, days=30)
    assert partitions(monthly) == before


def test_months_and_their_names_are_found_by_schema(old: Kept) -> None:
    """A table of that name elsewhere is somebody else's."""
    name = named(OLD[0])
    old.query(f"CREATE SCHEMA cold; ALTER TABLE {name} SET SCHEMA cold; CREATE TABLE {name} (number integer)")
    assert expire(old.resource, days=DAYS) == Expired(2, 3)
    assert old.query(f"SELECT to_regclass('cold.{name}') IS NULL, to_regclass('{name}') IS NULL") == [(True, False)]
    assert old.agrees()


@pytest.mark.parametrize(
    "nightly",
    [
        lambda database: prune_inbox(database, days=30),
        lambda database: expire(database, days=100),
        lambda database: database.prepare(),
    ],
    ids=["prune", "expire", "prepare"],
)
def test_what_runs_every_night_adds_the_months_ahead(monthly: Kept, nightly: Callable[[LoginDatabase], Any]) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}, {AHEAD[1]}")
    nightly(LoginDatabase(read_settings(), maintenance=True))
    assert partitions(monthly)[-3:] == AHEAD
    with monthly.resource.transaction() as cursor:
        cursor.execute("CREATE PUBLICATION every FOR ALL TABLES")
        assert replication_problem(cursor) is None
        cursor.connection.rollback()


def test_run_of_one_role_makes_the_month_that_it_needs_and_doctor_changes_nothing(
    pipeline: Pipeline, body: Callable[..., str], command: Command
) -> None:
    assert command("prepare", "--partitioned")[0] == 0
    pipeline.database.query(f"DROP TABLE {AHEAD[0]}")
    pipeline.queue.send(body())
    assert f"no {AHEAD[0]} yet" in command("doctor")[1]
    assert AHEAD[0] not in partitions(pipeline.database)
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 1
    assert partitions(pipeline.database)[-3:] == AHEAD


def test_run_that_may_not_make_it_receives_nothing_and_says_who_can(
    pipeline: Pipeline, body: Callable[..., str], command: Command
) -> None:
    with roles_of(pipeline.database) as roles:
        pipeline.set(LOGIN_DATABASE_URL=roles.loader.url, LOGIN_MAINTENANCE_DATABASE_URL=roles.owner.url)
        assert command("prepare", "--partitioned")[0] == 0
        roles.owner.query(f"DROP TABLE {AHEAD[1]}")
        assert f"no partition for {NEXT_MONTH}, from which day on runs receive nothing; `log" in command("doctor")[1]
        roles.owner.query(f"DROP TABLE {AHEAD[0]}")
        pipeline.queue.send(body())
        (failure,) = pipeline.run().failures
        assert "takes no rows of today from this role (no_partition); create the partition" in failure
        assert pipeline.queue.count() == 1
        assert command("prepare")[0] == 0
        assert pipeline.run().metadata["user_logins_table"]["loaded"] == 1


def test_many_that_add_the_same_month_at_once_do_not_fail(monthly: Kept) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: monthly.resource.prepare(), range(6)))
    assert partitions(monthly)[-3:] == AHEAD


@pytest.mark.parametrize(
    "work",
    [
        "INSERT INTO user_logins (create_date) VALUES (now())",
        f"LOCK TABLE {AHEAD[0]} IN SHARE UPDATE EXCLUSIVE MODE",  # as VACUUM takes it
    ],
    ids=["load", "VACUUM"],
)
def test_month_is_added_while_other_work_goes_on(monthly: Kept, work: str) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}")
    with monthly.resource.transaction() as other:
        other.execute(work)
        monthly.resource.prepare()
    assert partitions(monthly)[-3:] == AHEAD


def test_owner_that_may_not_create_is_stopped_by_no_month_to_come(monthly: Kept) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}")
    with roles_of(monthly.database) as roles:
        monthly.query("ALTER TABLE user_logins OWNER TO login_pipeline_owner")
        for name in partitions(monthly):
            monthly.query(f"ALTER TABLE {name} OWNER TO login_pipeline_owner")
        monthly.query("REVOKE CREATE ON SCHEMA public FROM login_pipeline_owner")
        with psycopg2.connect(roles.owner.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET search_path = public")
            assert missing_months(cursor) != []
            assert add_months(cursor) == []
        connection.close()
        monthly.query("ALTER TABLE user_logins OWNER TO CURRENT_USER")
        for name in partitions(monthly):
            monthly.query(f"ALTER TABLE {name} OWNER TO CURRENT_USER")


def test_month_that_cannot_be_added_now_is_left_to_the_next_night(monthly: Kept) -> None:
    """As while an ANALYZE of the table is at work."""
    monthly.query(f"DROP TABLE {AHEAD[2]}")
    with monthly.resource.transaction() as other:
        other.execute("LOCK TABLE ONLY user_logins IN SHARE UPDATE EXCLUSIVE MODE")
        assert prune_inbox(monthly.resource, days=30).dates == 0
        assert monthly.resource.check() == []
    assert partitions(monthly)[-1] == AHEAD[1]
    monthly.resource.prepare()
    assert partitions(monthly)[-3:] == AHEAD


def test_role_that_does_not_own_the_table_closes_no_month(
    old: Kept, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    with roles_of(old.database) as roles:
        old.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO login_pipeline_loader")
        monkeypatch.setenv("LOGIN_DATABASE_URL", roles.loader.url)
        monkeypatch.setenv("LOGIN_RETENTION_DAYS", str(DAYS))
        code, _, err = command("expire")
        assert code == 2
        assert "lacks ownership of user_logins_2026_01, of which every date is over" in err
        assert old.ledger() == {}


def test_month_belongs_to_the_table_s_owner_whichever_role_adds_it(old: Kept) -> None:
    old.query(f"DROP TABLE {AHEAD[2]}")
    with roles_of(old.database):
        old.query("ALTER TABLE user_logins OWNER TO login_pipeline_owner")
        old.resource.prepare()  # as a superuser
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = %s"
        assert old.database.query(owner, AHEAD[2]) == [("login_pipeline_owner",)]
        old.query("REASSIGN OWNED BY login_pipeline_owner TO CURRENT_USER")


def test_month_of_another_owner_closes_nothing_once_it_is_over(
    old: Kept, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """As one that a person added as another role."""
    with roles_of(old.database) as roles:
        for name in ("user_logins", *partitions(old)):
            old.query(f"ALTER TABLE {name} OWNER TO login_pipeline_owner")
        old.query("ALTER TABLE user_logins_2026_01 OWNER TO CURRENT_USER")
        old.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO login_pipeline_owner")
        monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", roles.owner.url)
        monkeypatch.setenv("LOGIN_RETENTION_DAYS", str(DAYS))
        code, _, err = command("expire")
        assert (code, old.ledger()) == (2, {})
        assert "lacks ownership of user_logins_2026_01, of which every date is over" in err
        old.query("ALTER TABLE user_logins_2026_01 OWNER TO login_pipeline_owner")
        code, out, err = command("expire", "--json")
        assert (code, json.loads(out)) == (0, {"dates": 2, "rows": 3}), err
        old.query("REASSIGN OWNED BY login_pipeline_owner TO CURRENT_USER")


def test_partitions_that_are_no_months_fail_no_check(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a tool makes them, a week at a time and a week ahead."""
    monkeypatch.setenv("LOGIN_DATABASE_URL", database.url)
    database.query("CREATE TABLE user_logins (create_date date) PARTITION BY RANGE (create_date)")
    week = f"FROM ('{TODAY}') TO ('{TODAY + timedelta(days=7)}')"
    with LoginDatabase(read_settings()).transaction() as cursor:
        assert first_uncovered_date(cursor) == TODAY
        cursor.execute(f"CREATE TABLE week PARTITION OF user_logins FOR VALUES {week}")
        assert first_uncovered_date(cursor) is None


def test_month_that_nobody_made_ahead_fails_a_check(monthly: Kept, command: Command) -> None:
    assert "passed  months_are_made_ahead" in command("check")[1]
    monthly.query(f"DROP TABLE {AHEAD[1]}")
    code, out, _ = command("check")
    failed = re.findall("FAILED +(.+)", out)
    assert (code, failed) == (1, [f"months_are_made_ahead  first_date_without_partition: {NEXT_MONTH}"])
    assert prune_inbox(monthly.resource, days=30).dates == 0
    assert command("check")[0] == 0


def test_month_that_cannot_be_added_fails_the_check(monthly: Kept, command: Command) -> None:
    """Its name is taken, or another partition has some of its dates."""
    monthly.query(f"ALTER TABLE user_logins DETACH PARTITION {AHEAD[1]}")
    assert prune_inbox(monthly.resource, days=30).dates == 0
    assert "FAILED  months_are_made_ahead" in command("check")[1]
    assert "no partition for" in command("doctor")[1]
    bounds = f"FROM ('{NEXT_MONTH}') TO ('{month_after(NEXT_MONTH)}')"
    monthly.query(f"ALTER TABLE user_logins ATTACH PARTITION {AHEAD[1]} FOR VALUES {bounds}")
    assert "passed  months_are_made_ahead" in command("check")[1]


def test_restore_says_where_a_month_cannot_be_added(old: Kept, command: Command) -> None:
    old.query("ALTER TABLE user_logins DETACH PARTITION user_logins_2026_01")
    code, _, err = command("restore")
    assert code == 1
    assert "(check_violation, SQLSTATE 23514): create the partition for their create_date" in err


def test_rights_on_a_month_are_those_on_the_table(monthly: Kept) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    monthly.resource.prepare()
    with roles_of(monthly.database) as roles, pytest.raises(InsufficientPrivilege):
        roles.loader.query(f"TABLE {AHEAD[2]}")


@pytest.mark.parametrize("by_root", ["true", "false"])
def test_published_table_can_lose_rows(monthly: Kept, by_root: str) -> None:
    monthly.query(f"CREATE PUBLICATION every FOR ALL TABLES WITH (publish_via_partition_root = {by_root})")
    with monthly.resource.transaction() as cursor:
        assert replication_problem(cursor) is None
        cursor.execute("ALTER TABLE user_logins REPLICA IDENTITY DEFAULT")
        problem = replication_problem(cursor)
        assert (problem is not None and "ALTER TABLE user_logins REPLICA" in problem) == (by_root == "true")


def test_month_is_dropped_whole_once_its_last_date_is_over(old: Kept) -> None:
    """Without a DELETE, which a trigger would count."""
    old.query(
        "CREATE TABLE deleted (user_id text); "
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO deleted VALUES (OLD.user_id); RETURN NULL; END'; "
        "CREATE TRIGGER note AFTER DELETE ON user_logins FOR EACH ROW EXECUTE FUNCTION note()"
    )
    old.query(f"DROP TABLE {AHEAD[2]}")
    before = old.rows(), partitions(old)
    assert expire(old.resource, days=DAYS, dry_run=True) == Expired(2, 3)
    assert (old.rows(), partitions(old)) == before
    assert expire(old.resource, days=DAYS) == Expired(2, 3)
    assert [row[6] for row in old.rows()] == sorted([OLD[2], TODAY])
    assert named(OLD[0]) not in partitions(old)
    assert old.agrees()
    assert old.query("SELECT * FROM deleted") == []
    assert expire(old.resource, days=DAYS) == Expired(0, 0)


def test_month_stays_whole_until_its_last_date_is_over(old: Kept) -> None:
    """28 February is over, and so are 5 and 6 January; 31 January is not."""
    rows = old.rows()
    assert expire(old.resource, days=(TODAY - date(2026, 1, 31)).days) == Expired(0, 0)
    assert old.rows() == rows
    assert old.resource.load([(*row(OLD[0]), "late")], seconds=30) == Loaded(1, 0, {})
    assert expire(old.resource, days=DAYS) == Expired(2, 4)
    assert old.resource.load([(*row(OLD[0]), "later")], seconds=30) == Loaded(0, 0, {"later": "expired"})
    assert old.agrees()


def test_month_without_rows_is_dropped_and_closed_too(old: Kept) -> None:
    erase(old.resource, ["ann"], "request 1", "jo")
    expire(old.resource, days=DAYS)
    assert named(OLD[0]) not in partitions(old)
    late = date(2026, 1, 31)
    assert old.resource.load([(*row(late), "late")], seconds=30) == Loaded(0, 0, {"late": "expired"})
    assert old.agrees()


def test_month_that_expires_within_four_weeks_is_not_made_again(monthly: Kept) -> None:
    expire(monthly.resource, days=0)
    monthly.resource.prepare()
    assert partitions(monthly) == AHEAD


def test_month_that_is_read_stays_and_goes_the_next_time(old: Kept) -> None:
    with old.resource.transaction() as reading:
        reading.execute("SELECT count(*) FROM user_logins")
        with pytest.raises(DatabaseError, match="a table is locked by another session"):
            expire(old.resource, days=DAYS)
        assert old.agrees()
    assert old.resource.load([(*row(OLD[0]), "late")], seconds=30) == Loaded(0, 0, {"late": "expired"})
    assert expire(old.resource, days=DAYS) == Expired(2, 3)
    assert old.agrees()


def test_view_on_a_month_is_named_as_what_keeps_it(old: Kept) -> None:
    old.query(f"CREATE VIEW january AS TABLE {named(OLD[0])}")
    with pytest.raises(DatabaseError, match="a view or a key depends on what is to go; drop it"):
        expire(old.resource, days=DAYS)
    assert len(old.rows()) == 5
    assert old.agrees()


def test_month_whose_transaction_dies_keeps_its_rows(old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = old.rows()

    def die(cursor: extensions.cursor, month: Month) -> None:
        drop_month(cursor, month)
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(expiry, "drop_month", die)
    with pytest.raises(DatabaseError):
        expire(old.resource, days=DAYS)
    assert old.rows() == rows
    assert old.agrees()
    monkeypatch.setattr(expiry, "drop_month", drop_month)
    assert expire(old.resource, days=DAYS) == Expired(2, 3)
    assert old.agrees()


def test_month_that_another_expiry_dropped_first_is_no_error(old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:

    def find_and_lose(cursor: extensions.cursor, *, days: int) -> list[Month]:
        months = months_over(cursor, days=days)
        cursor.connection.commit()
        monkeypatch.setattr(expiry, "months_over", months_over)
        expire(old.resource, days=days)
        return months

    monkeypatch.setattr(expiry, "months_over", find_and_lose)
    expire(old.resource, days=DAYS)
    assert [row[6] for row in old.rows()] == sorted([OLD[2], TODAY])
    assert old.agrees()


def test_backup_that_has_begun_keeps_a_month_until_it_ends(old: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its snapshot has the ledger of before, and the table would be that of after."""

    def read_and_expire(store: BackupStore) -> Manifest | None:
        monkeypatch.setattr(export, "read_manifest", read_manifest)
        with pytest.raises(DatabaseError, match="a table is locked by another session"):
            expire(old.resource, days=DAYS)
        return read_manifest(store)

    old.load([row(TODAY)], "one more")
    monkeypatch.setattr(export, "read_manifest", read_and_expire)
    old.back_up()
    assert old.manifest.dates
    assert expire(old.resource, days=DAYS) == Expired(2, 3)
    old.back_up()


def test_load_that_waits_while_a_month_is_dropped_has_its_rows(old: Kept) -> None:
    with old.resource.transaction() as dropping, ThreadPoolExecutor(1) as pool:
        dropping.execute(f"DROP TABLE {named(OLD[0])}")
        loading = pool.submit(old.resource.load, [(*row(TODAY), "beside it")], seconds=30)
        wait_until(lambda: waits_for_a_lock(old) or loading.done())
        dropping.connection.commit()
        assert loading.result() == Loaded(1, 0, {})


def test_restore_adds_the_months_of_its_rows_and_no_month_that_has_expired(old: Kept, other: Database) -> None:
    rows = old.rows()
    old.move_to(other)
    old.resource.prepare(partitioned=True)
    assert old.restore(dry_run=True).total("rows_added") == 5
    assert old.restore().total("rows_added") == 5
    assert old.rows() == rows
    assert {named(OLD[0]), named(OLD[2])} <= set(partitions(old))
    expire(old.resource, days=DAYS)
    old.restore()
    assert [row[6] for row in old.rows()] == sorted([OLD[2], TODAY])
    assert named(OLD[0]) not in partitions(old)
    assert old.agrees()


def test_table_that_is_there_becomes_partitioned_as_the_documentation_says(empty: Kept, command: Command) -> None:
    text = Path("docs/databases.md").read_text(encoding="utf-8")
    assert "ALTER TABLE user_logins RENAME TO user_logins_before" in text
    empty.load([row(day, number) for number, day in enumerate([*OLD, TODAY])])
    rows = empty.rows()
    assert command("backup")[0] == 0
    empty.query("ALTER TABLE user_logins RENAME TO user_logins_before")
    assert command("prepare", "--partitioned")[0] == 0
    assert command("restore")[0] == 0
    assert empty.rows() == rows
    assert command("check")[0] == 0
    assert named(OLD[0]) in partitions(empty)


def test_login_of_a_month_without_a_partition_waits(monthly: Kept) -> None:
    refused = monthly.resource.load([(*row(OLD[0]), "old")], seconds=30)
    assert refused == Loaded(0, 0, {"old": "refused.no_partition"})
