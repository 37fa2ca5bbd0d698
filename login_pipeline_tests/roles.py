"""The database of a test with the roles of deploy/postgres/roles.sql, and somebody who logs in with each."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database

ROLES_SQL = ROOT / "deploy" / "postgres" / "roles.sql"
GROUPS = ("login_pipeline_owner", "login_pipeline_loader", "login_pipeline_reader", "login_pipeline_auditor")
PASSWORD = "of-this-test"  # noqa: S105 - of roles that live as long as a test


@dataclass(frozen=True)
class Roles:
    """The same database as a superuser sees it, and as one who logs in with each role does."""

    superuser: Database
    owner: Database
    loader: Database
    reader: Database
    auditor: Database


def make_roles(database: Database) -> None:
    """Runs roles.sql, as an operator does."""
    database.query(ROLES_SQL.read_text(encoding="utf-8"))


@contextmanager
def roles_of(database: Database) -> Iterator[Roles]:
    """One for each role who logs in, in that role only; gone afterwards, with the roles."""
    make_roles(database)
    names = {group: f"{group}_{uuid.uuid4().hex[:8]}" for group in GROUPS}
    for group, name in names.items():
        database.query(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE {group}")
    database.query(f"ALTER ROLE {names[GROUPS[0]]} SET role = '{GROUPS[0]}'")
    try:
        yield Roles(database, *(Database(with_role(database.url, names[group])) for group in GROUPS))
    finally:
        every = ", ".join([*names.values(), *GROUPS])
        database.query(f"DROP OWNED BY {every} CASCADE")
        database.query(f"DROP ROLE {every}")


def with_role(url: str, role: str) -> str:
    """The URL of the same database for another who logs in."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{address}"))
