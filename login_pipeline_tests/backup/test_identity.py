"""A backup knows which database it is of: no other takes its place, or gets its rows, unless a person insists."""

import json
import uuid
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest

from login_pipeline.backup.export import back_up
from login_pipeline.backup.store import FolderStore
from login_pipeline.cli.runs import run
from login_pipeline.errors import BackupError, ConfigurationError
from login_pipeline_tests.backup.fixtures import MONDAY, TUESDAY, Kept, name_of, wait_until
from login_pipeline_tests.conftest import Command, Database, Servers, new_database
from login_pipeline_tests.roles import PASSWORD, with_role

OTHERS = ("of the other database", "ios", "m", "m", None, 7, TUESDAY)


def test_two_databases_with_one_place_never_replace_each_other_s_backup_but_one_can_take_over(
    kept: Kept, other: Database, command: Command
) -> None:
    first = kept.database
    assert command("backup")[0] == 0
    before = kept.manifest
    kept.move_to(other)
    kept.resource.prepare()
    kept.load([OTHERS])
    code, out, err = command("backup")
    assert (code, out) == (2, "")
    assert name_of(first) in err.split("; ")[0]
    assert f"LOGIN_DATABASE_URL names 127.0.0.1:{before.database.name.split(':')[1].split('/')[0]}" in err
    assert name_of(other) in err.split("; ")[1]
    assert "run `login-pipeline backup --take-over`: it replaces that backup" in err
    with dg.DagsterInstance.ephemeral() as instance:
        (sentence,) = run("user_logins_backup_job", instance).failures
    assert sentence == err.strip()
    assert kept.manifest == before
    assert command("backup", "--take-over")[0] == 0
    assert [(each.create_date, each.rows.count) for each in kept.manifest.dates] == [(TUESDAY, 1)]
    assert len(list(kept.folder.iterdir())) == 5
    assert command("backup")[0] == 0
    kept.move_to(first)
    assert command("backup")[0] == 2


def test_restore_puts_no_rows_into_another_database_without_take_over(
    kept: Kept, other: Database, command: Command
) -> None:
    kept.back_up()
    rows = kept.rows()
    kept.move_to(other)
    kept.resource.prepare()
    kept.load([OTHERS], "other")
    for arguments in (("restore",), ("restore", "--dry-run")):
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert f"{name_of(other)} (" in err
        assert "which is not empty; name an empty database, or run `login-pipeline restore --take-over`" in err
    assert kept.rows() == [OTHERS]
    assert command("restore", "--take-over")[0] == 0
    assert kept.rows() == sorted([*rows, OTHERS], key=repr)
    assert command("backup")[0] == 2


@pytest.mark.parametrize("prepared", [True, False])
def test_new_database_gets_the_rows_and_then_takes_the_place_over(
    kept: Kept, other: Database, command: Command, *, prepared: bool
) -> None:
    first = kept.database
    kept.back_up()
    rows, keys = kept.rows(), kept.keys()
    kept.move_to(other)
    if prepared:
        kept.resource.prepare()
    assert command("restore", "--dry-run")[0] == 0
    for added in (8, 0):  # it is run again, as after it was killed
        code, out, err = command("restore", "--json")
        assert (code, json.loads(out)["rows_added"]) == (1, added)
        assert err.count("\n") == 1
        assert name_of(first) in err
        assert "run `login-pipeline forget` for them again; then `login-pipeline backup --take-over`" in err
        assert (kept.rows(), kept.keys()) == (rows, keys)
    assert command("backup")[0] == 2  # the other one may still be at work
    code, out, _ = command("backup", "--take-over", "--json")
    assert (code, json.loads(out)["files_written"]) == (0, 0)
    assert command("restore")[0] == 0
    kept.query("DELETE FROM user_logins WHERE create_date = %s", MONDAY)
    for take_over in (True, False):
        with pytest.raises(BackupError, match="2026-01-05: 4 rows fewer than in the backup"):
            kept.back_up(take_over=take_over)
    kept.move_to(first)
    assert command("backup")[0] == 2


def test_copy_of_a_database_is_another_one(kept: Kept, servers: Servers) -> None:
    kept.back_up()
    before = kept.manifest
    with new_database(servers, template=name_of(kept.database)) as copy:
        kept.move_to(copy)
        with pytest.raises(ConfigurationError, match="holds the backup of another database"):
            kept.back_up()
        assert kept.manifest == before


def test_database_that_lost_its_identity_with_everything_else_is_a_new_one(kept: Kept) -> None:
    kept.back_up()
    rows = kept.rows()
    kept.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    restored = kept.restore()
    assert (restored.of_another, kept.rows()) == (True, rows)


def test_two_first_backups_at_once_do_not_both_succeed(
    kept: Kept, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, put = kept.database, FolderStore.put

    def back_the_other_up_and_put(self: FolderStore, name: str, content: Any) -> None:
        monkeypatch.setattr(FolderStore, "put", put)
        kept.move_to(other)
        kept.resource.prepare()
        back_up(kept.resource, kept.store)
        kept.move_to(first)
        put(self, name, content)

    monkeypatch.setattr(FolderStore, "put", back_the_other_up_and_put)
    with pytest.raises(BackupError, match="got another manifest during this backup"):
        kept.back_up()
    assert kept.manifest.database.name.endswith(name_of(other))


def test_role_that_may_have_one_connection_can_back_up(kept: Kept, command: Command) -> None:
    superuser, role = kept.database, f"single_{uuid.uuid4().hex[:8]}"
    kept.query(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 1")
    try:
        kept.query(
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT UPDATE ON user_logins_backup TO {role}"
        )
        kept.move_to(Database(with_role(superuser.url, role)))
        # PostgreSQL counts a session until it is gone, so one after another may be one too many.
        wait_until(lambda: command("backup")[::2] == (0, ""))
    finally:
        superuser.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
    host_and_port = urlsplit(superuser.url).netloc.rpartition("@")[2]
    assert kept.manifest.database.name == f"{host_and_port}/{name_of(superuser)}"


def test_identity_that_is_gone_is_one_sentence(kept: Kept) -> None:
    kept.query("DELETE FROM user_logins_backup")
    with pytest.raises(ConfigurationError, match="drop the table and run `login-pipeline prepare`"):
        kept.back_up()
