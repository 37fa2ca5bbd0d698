"""Logging in to a real PostgreSQL with a password from a file, or from ministack's Secrets Manager and SSM."""

import json
import secrets
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from login_pipeline.errors import ConfigurationError
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Database

pytestmark = pytest.mark.direct_database  # PgBouncer keeps sessions that end_sessions does not reach


@dataclass
class Role:
    """One who may log in, and where the pipeline reads the password from."""

    database: Database
    place: str
    user: str = field(default_factory=lambda: f"user_{secrets.token_hex(4)}")
    password: str = field(default_factory=lambda: f"{secrets.token_hex(4)}{{'@/% \\")

    def url(self, user: str, query: str = "") -> str:
        """The URL without a password."""
        parts = urlsplit(self.database.url)
        return f"postgresql://{user}@{parts.hostname}:{parts.port}{parts.path}{query}"

    def change(self) -> None:
        """Gives it another password, which the place does not have yet."""
        self.password = f"new-{secrets.token_hex(4)}"
        self.database.query(f"ALTER ROLE {self.user} PASSWORD '{self.password}'")

    def store(self, text: str | None = None) -> None:
        """Puts the password into the place."""
        store, _, name = self.place.partition(":")
        text = self.password if text is None else text
        if store == "ssm":
            boto3.client("ssm").put_parameter(Name=name, Value=text, Type="SecureString", Overwrite=True)
        elif store == "secretsmanager":
            client = boto3.client("secretsmanager")
            try:
                client.put_secret_value(SecretId=name, SecretString=text)
            except client.exceptions.ResourceNotFoundException:
                client.create_secret(Name=name, SecretString=text)
        else:
            file = Path(self.place)
            file.touch(mode=0o600)
            file.write_text(f"{text}\n")


@pytest.fixture(params=["file", "secretsmanager", "ssm"])
def role(
    request: pytest.FixtureRequest, database: Database, aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    place = str(tmp_path / "password") if request.param == "file" else f"{request.param}:{aws}"
    role = Role(database, place)
    database.query(f"CREATE ROLE {role.user} LOGIN PASSWORD %s", role.password)
    monkeypatch.setenv("LOGIN_DATABASE_URL", role.url(role.user))
    monkeypatch.setenv("LOGIN_DATABASE_PASSWORD_SOURCE", place)
    yield role
    database.end_sessions()
    database.query(f"DROP ROLE {role.user}")


def user_of(database: LoginDatabase) -> str:
    with database.transaction() as cursor:
        cursor.execute("SELECT session_user")
        return str((cursor.fetchone() or ("",))[0])


def refusal(**options: bool) -> str:
    with pytest.raises(ConfigurationError) as error:
        user_of(LoginDatabase(read_settings(), **options))
    return error.value.sentence


def test_password_is_read_from_its_place_and_not_from_the_environment(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    role.store()
    monkeypatch.setenv("PGPASSWORD", "of somebody else")
    assert user_of(LoginDatabase(read_settings())) == role.user


def test_user_goes_with_the_password_in_the_json_of_rds(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation with two users changes it, too."""
    role.store(json.dumps({"engine": "postgres", "username": role.user, "password": role.password, "port": 1}))
    monkeypatch.setenv("LOGIN_DATABASE_URL", role.url("the_other_user"))
    assert user_of(LoginDatabase(read_settings())) == role.user


def test_maintenance_role_has_a_place_of_its_own(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    role.store()
    administrator = urlsplit(role.database.url).username
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", role.database.url)
    assert user_of(LoginDatabase(read_settings(), maintenance=True)) == administrator
    assert user_of(LoginDatabase(read_settings())) == role.user
    monkeypatch.setenv("LOGIN_DATABASE_URL", role.database.url)
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_URL", role.url(role.user))
    monkeypatch.setenv("LOGIN_MAINTENANCE_DATABASE_PASSWORD_SOURCE", role.place)
    monkeypatch.delenv("LOGIN_DATABASE_PASSWORD_SOURCE")
    assert user_of(LoginDatabase(read_settings(), maintenance=True)) == role.user
    assert user_of(LoginDatabase(read_settings())) == administrator


@pytest.mark.parametrize("role", ["secretsmanager"], indirect=True)
def test_maintenance_without_a_url_of_its_own_reads_the_place_of_the_runs(role: Role) -> None:
    role.store()
    assert user_of(LoginDatabase(read_settings(), maintenance=True)) == role.user


def test_changed_password_is_read_again_where_a_connection_broke(role: Role) -> None:
    role.store()
    with closing(LoginDatabase(read_settings(), keep_connection=True)) as database:
        assert user_of(database) == role.user
        role.change()
        role.store()
        assert user_of(database) == role.user
        role.database.end_sessions()
        assert user_of(database) == role.user


def test_password_that_the_server_does_not_accept_is_one_sentence_after_the_rotation_s_minute(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.postgres.credentials.ROTATION_SECONDS", 0)
    role.store()
    role.change()
    assert refusal() == (
        "The database in LOGIN_DATABASE_URL cannot be used: the server does not accept the user and the password; put "
        f"the role's password into LOGIN_DATABASE_PASSWORD_SOURCE={role.place}"
    )


def test_place_without_a_password_is_one_sentence(role: Role) -> None:
    for text in (" ", '{"username": "a", "secret": "hunter2"}'):
        role.store(text)
        assert refusal() == f"LOGIN_DATABASE_PASSWORD_SOURCE={role.place} has no password in it; put one into it"


@pytest.mark.parametrize("role", ["file"], indirect=True)
def test_two_passwords_are_refused(role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    role.store()
    monkeypatch.setenv("LOGIN_DATABASE_URL", role.url(f"{role.user}:hunter2"))
    sentence = refusal()
    assert sentence.startswith("LOGIN_DATABASE_URL has a password, and LOGIN_DATABASE_PASSWORD_SOURCE is set, too; ")
    assert "hunter2" not in sentence
