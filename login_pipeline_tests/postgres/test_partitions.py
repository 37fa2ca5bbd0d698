"""A user_logins that is partitioned by month has its partitions ahead of time, and loses them whole."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from login_pipeline.errors import DatabaseError
from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.postgres.copy import Loaded
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import replication_problem
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
    for first in ("2026-01-01", "2026-02-01"):
        past = month_after(date.fromisoformat(first))
        name = named(date.fromisoformat(first))
        monthly.query(f"CREATE TABLE {name} PARTITION OF user_logins FOR VALUES FROM ('{first}') TO ('{past}')")
        monthly.query(f"ALTER TABLE {name} REPLICA IDENTITY FULL")
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
        "CREATE TABLE user_logins_2026_01 PARTITION OF user_logins FOR VALUES FROM ('2026-01-01') TO ('2028-01-01')",
        "CREATE TABLE user_logins_2026_13 PARTITION OF user_logins DEFAULT",
    ],
)
def test_partitions_of_another_kind_are_left_alone(empty: Kept, somebody_s: str) -> None:
    empty.query("ALTER TABLE user_logins RENAME TO plain")
    empty.query("CREATE TABLE user_logins (LIKE plain) PARTITION BY RANGE (create_date)")
    empty.query(somebody_s)
    empty.resource.prepare()
    empty.load([row(OLD[0])])
    assert expire(empty.resource, days=1) == Expired(1, 1)
    assert len(partitions(empty)) == 1


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


def test_month_is_added_while_a_load_is_under_way(monthly: Kept) -> None:
    monthly.query(f"DROP TABLE {AHEAD[2]}")
    with monthly.resource.transaction() as loading:
        loading.execute("INSERT INTO user_logins (create_date) VALUES (%s)", [TODAY])
        monthly.resource.prepare()
    assert partitions(monthly)[-3:] == AHEAD


def test_month_is_dropped_whole_once_its_last_date_is_over(old: Kept) -> None:
    """Without a DELETE, which a trigger would count."""
    old.query(
        "CREATE TABLE deleted (user_id text); "
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO deleted VALUES (OLD.user_id); RETURN NULL; END'; "
        "CREATE TRIGGER note AFTER DELETE ON user_logins FOR EACH ROW EXECUTE FUNCTION note()"
    )
    before = old.rows()
    assert expire(old.resource, days=DAYS, dry_run=True) == Expired(2, 3)
    assert (old.rows(), named(OLD[0]) in partitions(old)) == (before, True)
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
