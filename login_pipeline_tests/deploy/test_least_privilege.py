"""Each role of deploy/postgres/roles.sql may do what its work needs, and nothing else."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from psycopg2 import errors

from login_pipeline.defs.jobs import inbox_pruning_schedule, user_logins_expiry_schedule
from login_pipeline.defs.resources import LoginDatabaseResource
from login_pipeline.ingest.pruning import Pruned, prune_inbox
from login_pipeline.ingest.redrive import redrive
from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.postgres.tables import Table
from login_pipeline.privacy.expiry import Expired
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Command, Database, Pipeline
from login_pipeline_tests.roles import ROLES_SQL, Roles, make_roles, roles_of, with_role

Body = Callable[..., str]


@pytest.fixture
def roles(pipeline: Pipeline, tmp_path: Path) -> Iterator[Roles]:
    """The pipeline runs as the loader; nothing is prepared yet."""
    with roles_of(pipeline.database) as roles:
        pipeline.set(LOGIN_DATABASE_URL=roles.loader.url, LOGIN_BACKUP_URL=str(tmp_path / "backup"))
        yield roles


@pytest.fixture
def prepared(pipeline: Pipeline, roles: Roles) -> Roles:
    """The owner has created the tables, and its credential is gone again."""
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=roles.owner.url)
    LoginDatabase(read_settings(), maintenance=True).prepare()
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=None)
    return roles


def test_locks_that_a_reader_can_take_stop_nothing(pipeline: Pipeline, prepared: Roles, body: Body) -> None:
    reader = psycopg2.connect(prepared.reader.url)
    for key in ("user_logins_inbox", "user_logins_inbox, forget", "user_logins_erasures"):
        reader.cursor().execute("SELECT pg_advisory_lock(hashtext(%s))", [key])
    pipeline.queue.send(body())
    assert pipeline.run().metadata["user_logins_table"]["loaded"] == 1
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    assert prune_inbox(LoginDatabase(read_settings(), maintenance=True), days=30) == Pruned(0, 0, 0)
    reader.close()
    for table in Table:
        for mode in ("ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE"):
            with pytest.raises(errors.InsufficientPrivilege):
                prepared.reader.query(f"LOCK TABLE {table} IN {mode} MODE")


def test_no_statement_takes_a_lock_that_any_role_can_take() -> None:
    files = [*Path(statements.__file__).parent.glob("sql/*.sql")]
    assert files
    assert [file.name for file in files if "advisory" in file.read_text(encoding="utf-8")] == []


def test_the_whole_pipeline_runs_as_the_loader(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command
) -> None:
    prepared.owner.query("ALTER TABLE user_logins ADD CONSTRAINT wrong CHECK (locale <> 'refused')")
    pipeline.queue.send(body(user_id="good"), body(user_id="corrected", locale="refused"), "not a login")
    code, out, err = command("drain", "--json")
    assert (code, err) == (0, "")
    figures = json.loads(out)
    assert (figures["loaded"], figures["quarantined"], figures["deleted"]) == (1, 2, 3)

    prepared.owner.query("ALTER TABLE user_logins DROP CONSTRAINT wrong")
    assert redrive(read_settings(), "refused.check_violation", dry_run=False).sent_back == 1
    assert pipeline.run().failures == []
    assert sorted(prepared.reader.query("SELECT user_id FROM user_logins")) == [("corrected",), ("good",)]
    assert command("check")[0] == 0
    assert command("backup")[0] == 0
    assert command("doctor")[0] == 0


FORBIDDEN = [
    "UPDATE {table} SET {column} = {column}",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "ALTER TABLE {table} ADD COLUMN more integer",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "DROP TABLE {table}",
    "CREATE INDEX ON {table} ({column})",
    "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE",
]
FORBIDDEN_ANYWHERE = [
    "CREATE TABLE mine (number integer)",
    "CREATE TABLE public.mine AS SELECT * FROM user_logins",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT login_pipeline_owner TO CURRENT_USER",
    "SET ROLE login_pipeline_owner",
    "SELECT rolpassword FROM pg_authid",
    "COPY user_logins TO '/tmp/logins'",
    "COPY user_logins TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SET log_statement = 'none'",
]


def test_loader_reader_and_auditor_can_change_no_table(prepared: Roles) -> None:
    first = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum = 1"
    for table in Table:
        ((column,),) = prepared.superuser.query(first, table)
        for role in (prepared.loader, prepared.reader, prepared.auditor):
            locks_for_a_backup = (table, role) == ("user_logins_backup", prepared.loader)
            for statement in FORBIDDEN[:-1] if locks_for_a_backup else FORBIDDEN:
                with pytest.raises(errors.InsufficientPrivilege):
                    role.query(statement.format(table=table, column=column))


def test_loader_reader_and_auditor_can_make_nothing_and_become_nobody(prepared: Roles) -> None:
    for role in (prepared.loader, prepared.reader, prepared.auditor):
        for statement in FORBIDDEN_ANYWHERE:
            with pytest.raises(errors.InsufficientPrivilege):
                role.query(statement)


def test_auditor_reads_who_was_erased_or_unmasked_and_nothing_beside(prepared: Roles) -> None:
    audit = {"user_logins_erasures", "user_logins_unmaskings"}
    everything = "SELECT * FROM {}"
    assert [prepared.auditor.query(everything.format(table)) for table in audit] == [[], []]
    for table in set(Table) - audit:
        with pytest.raises(errors.InsufficientPrivilege):
            prepared.auditor.query(everything.format(table))
    with pytest.raises(errors.InsufficientPrivilege):
        prepared.auditor.query("CREATE TEMPORARY TABLE mine (number integer)")


def test_reader_reads_the_logins_and_nothing_beside_them(prepared: Roles) -> None:
    others = set(Table) - {"user_logins"}
    of_each = ("SELECT * FROM {}", "SELECT count(*) FROM {}", "INSERT INTO {} DEFAULT VALUES")
    for statement in (
        *(statement.format(table) for table in others for statement in of_each),
        "INSERT INTO user_logins DEFAULT VALUES",
        "CREATE TEMPORARY TABLE mine (number integer)",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            prepared.reader.query(statement)
    assert prepared.reader.query("SELECT * FROM user_logins") == []


def test_who_is_in_none_of_the_roles_cannot_connect(prepared: Roles) -> None:
    stranger = "stranger_of_this_test"
    prepared.superuser.query(f"CREATE ROLE {stranger} LOGIN PASSWORD 'of-this-test'")
    try:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            Database(with_role(prepared.superuser.url, stranger)).query("SELECT 1")
    finally:
        prepared.superuser.query(f"DROP ROLE {stranger}")


def test_every_table_is_in_the_grants_and_belongs_to_the_owner_s_role_and_not_to_who_logged_in(prepared: Roles) -> None:
    """One that somebody adds has to be named wherever rights are taken away before they are given."""
    there = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
    assert prepared.superuser.query(there) == [(table, "login_pipeline_owner") for table in sorted(Table)]
    for role, grants in statements.grants.items():
        assert re.findall(r"REVOKE ALL ON (.+) FROM PUBLIC, (\w+);", grants) == [(", ".join(Table), role)]
    named = ", ".join(f"'{table}'" for table in Table)
    assert f"relname IN ({named})" in ROLES_SQL.read_text(encoding="utf-8")


def test_run_without_tables_says_to_prepare_them_as_the_owner(
    pipeline: Pipeline, roles: Roles, body: Body, command: Command
) -> None:
    pipeline.queue.send(body())
    code, _, err = command("drain")
    assert code == 2
    assert err == (
        f"The database in LOGIN_DATABASE_URL has no {' and no '.join(Table)}, which its role may not create; "
        "run `login-pipeline prepare` as the tables' owner, "
        "whom LOGIN_MAINTENANCE_DATABASE_URL names\n"
    )
    (message,) = pipeline.queue.take_all()
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert roles.superuser.query("SELECT to_regclass('user_logins')") == [(None,)]


def test_prepare_makes_what_an_upgrade_adds(pipeline: Pipeline, prepared: Roles, command: Command) -> None:
    prepared.superuser.query("DROP TABLE user_logins_dead_letters")
    assert "has no user_logins_dead_letters, which its role may not create" in pipeline.run().failures[0]
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    code, out, _ = command("prepare")
    assert (code, out.split(" in ")[0]) == (0, "The tables are ready")
    assert "of-this-test" not in out
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=None)
    assert pipeline.run().failures == []


def test_tables_that_were_there_before_the_roles_become_the_owner_s(
    pipeline: Pipeline, roles: Roles, body: Body, command: Command
) -> None:
    pipeline.set(LOGIN_DATABASE_URL=roles.superuser.url)
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    pipeline.set(LOGIN_DATABASE_URL=roles.loader.url, LOGIN_MAINTENANCE_DATABASE_URL=roles.owner.url)
    make_roles(roles.superuser)
    assert command("prepare")[0] == 0
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert len(roles.reader.query("SELECT * FROM user_logins")) == 2


def test_who_made_the_tables_cannot_take_a_trigger_away_from_their_owner(
    pipeline: Pipeline, roles: Roles, body: Body
) -> None:
    """The one role that did all before there were three, and is the loader now."""
    roles.superuser.query("GRANT ALL ON SCHEMA public TO login_pipeline_loader")
    pipeline.set(LOGIN_DATABASE_URL=roles.loader.url)
    assert pipeline.run().failures == []
    make_roles(roles.superuser)
    for function in (
        "user_logins_unmaskings_are_final",
        "user_logins_erasures_stay",
        "user_logins_backup_is_locked_only",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            roles.loader.query(f"DROP FUNCTION {function} CASCADE")


def test_right_that_somebody_gave_beside_the_script_is_taken_back(
    pipeline: Pipeline, prepared: Roles, command: Command
) -> None:
    prepared.owner.query("GRANT ALL ON user_logins TO login_pipeline_loader, login_pipeline_reader, PUBLIC")
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    assert command("prepare")[0] == 0
    with pytest.raises(errors.InsufficientPrivilege):
        prepared.loader.query("DELETE FROM user_logins")


def test_preparing_as_another_than_the_owner_is_refused(prepared: Roles, command: Command) -> None:
    code, out, err = command("prepare")  # as the loader
    assert (code, out) == (2, "")
    assert f"lacks ownership of {', '.join(sorted(Table))}, " in err
    assert "name the tables' owner in LOGIN_MAINTENANCE_DATABASE_URL" in err


def test_what_touches_personal_data_is_not_for_the_loader(prepared: Roles, command: Command) -> None:
    request = ("--reason", "17", "--by", "jo")
    for arguments in (("forget", "somebody", *request), ("unmask", "x", *request), ("keys", "rotate")):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("The role in LOGIN_DATABASE_URL lacks ")
        assert "name the tables' owner in LOGIN_MAINTENANCE_DATABASE_URL" in err


def test_what_touches_personal_data_works_as_the_owner(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command
) -> None:
    pipeline.set(LOGIN_MASKING_METHOD="aes-siv")
    pipeline.queue.send(body(user_id="somebody"))
    assert pipeline.run().failures == []
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    assert command("unmask", "--user-id", "somebody", "--reason", "17", "--by", "jo")[0] == 0
    assert command("keys", "rotate")[0] == 0
    assert command("forget", "somebody", "--reason", "17", "--by", "jo")[0] == 0
    assert prepared.reader.query("SELECT * FROM user_logins") == []


def test_pruning_expiring_and_restoring_as_the_loader_name_the_setting_for_it(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command
) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert command("backup")[0] == 0
    owner = "name the tables' owner in LOGIN_MAINTENANCE_DATABASE_URL; deploy/postgres/roles.sql makes one\n"
    code, _, err = command("prune")
    assert (code, err) == (
        2,
        "The role in LOGIN_DATABASE_URL lacks DELETE on user_logins_inbox, INSERT on user_logins_ledger, UPDATE on "
        f"user_logins_ledger, DELETE on user_logins_dead_letters; {owner}",
    )
    pipeline.set(LOGIN_RETENTION_DAYS="30")
    code, _, err = command("expire")
    assert (code, err) == (
        2,
        "The role in LOGIN_DATABASE_URL lacks DELETE on user_logins, DELETE on user_logins_inbox, INSERT on "
        f"user_logins_ledger, UPDATE on user_logins_ledger; {owner}",
    )
    code, _, err = command("restore")
    assert (code, err) == (
        2,
        "The role in LOGIN_DATABASE_URL lacks INSERT on user_logins_ledger, UPDATE on user_logins_ledger, DELETE on "
        "user_logins_ledger, DELETE on user_logins_inbox, DELETE on user_logins, INSERT on user_logins_erasures, "
        "INSERT on user_logins_unmaskings, DELETE on user_logins_backup; "
        f"{owner}",
    )
    assert len(prepared.reader.query("SELECT * FROM user_logins")) == 1


def test_loader_cannot_write_the_ledger_and_losses_are_accepted_as_the_owner(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command
) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    with pytest.raises(errors.InsufficientPrivilege):
        prepared.loader.query("INSERT INTO user_logins_ledger VALUES (NULL, 'lost', -1)")
    prepared.owner.query("DELETE FROM user_logins")
    code, _, err = command("backup", "--accept-losses")
    assert (code, err.count("\n")) == (1, 1)
    assert "lacks INSERT on user_logins_ledger, UPDATE on user_logins_ledger; name the tables' owner" in err
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    assert command("backup", "--accept-losses")[0] == 0
    assert command("check")[0] == 0
    assert command("backup")[0] == 0


def test_pruning_expiring_and_restoring_work_as_the_owner_and_leave_the_loader_its_rights(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command
) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert command("backup")[0] == 0
    prepared.owner.query("DROP TABLE user_logins")
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    code, _, err = command("restore")
    assert (code, err) == (0, "")
    prepared.owner.query(
        "UPDATE user_logins_inbox SET create_date = create_date - 60, loaded_at = now() - interval '60 days'"
    )
    code, out, _ = command("prune", "--json")
    assert (code, json.loads(out)) == (0, Pruned(dates=1, keys=1, dead_letters=0)._asdict())
    prepared.owner.query("UPDATE user_logins SET create_date = create_date - 60")
    pipeline.set(LOGIN_RETENTION_DAYS="30", LOGIN_BACKUP_URL=None)
    code, out, _ = command("expire", "--json")
    assert (code, json.loads(out)) == (0, Expired(dates=1, rows=1)._asdict())
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=None)
    pipeline.queue.send(body())
    assert pipeline.run().failures == []
    assert len(prepared.reader.query("SELECT * FROM user_logins")) == 1


@pytest.mark.parametrize("schedule", [inbox_pruning_schedule, user_logins_expiry_schedule])
def test_schedule_leaves_what_a_run_may_not_do_to_a_host_that_may(
    pipeline: Pipeline, prepared: Roles, schedule: dg.ScheduleDefinition
) -> None:
    def asked() -> str:
        resources = {"login_maintenance_postgres": LoginDatabaseResource(maintenance=True)}
        with dg.build_schedule_context(resources=resources) as context:
            return schedule.evaluate_tick(context).skip_message or "asked for a run"

    pipeline.set(LOGIN_RETENTION_DAYS="30")
    assert "LOGIN_MAINTENANCE_DATABASE_URL" in asked()
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    assert asked() == "asked for a run"
    pipeline.set(LOGIN_RETENTION_DAYS=None)
    assert ("so nothing expires" in asked()) == (schedule is user_logins_expiry_schedule)


@pytest.mark.parametrize(
    ("obstacle", "sentence"),
    [
        (
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
            "CREATE TRIGGER keep BEFORE DELETE ON user_logins FOR EACH ROW EXECUTE FUNCTION keep()",
            "PostgreSQL kept 1 of the 1 rows of these users in user_logins",
        ),
        (
            "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            "Row-level security applies to the role in LOGIN_MAINTENANCE_DATABASE_URL",
        ),
    ],
)
def test_rows_that_would_stay_are_an_error_and_nothing_is_recorded(
    pipeline: Pipeline, prepared: Roles, body: Body, command: Command, obstacle: str, sentence: str
) -> None:
    pipeline.queue.send(body(user_id="somebody"))
    assert pipeline.run().failures == []
    prepared.owner.query(obstacle)
    pipeline.set(LOGIN_MAINTENANCE_DATABASE_URL=prepared.owner.url)
    code, out, err = command("forget", "somebody", "--reason", "17", "--by", "jo")
    assert (code != 0, out) == (True, "")
    assert err.startswith(sentence)
    assert prepared.superuser.query("SELECT user_id FROM user_logins") == [("somebody",)]
    assert prepared.superuser.query("SELECT * FROM user_logins_erasures") == []
