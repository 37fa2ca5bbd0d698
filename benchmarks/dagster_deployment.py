"""A Dagster instance of its own, as `login-pipeline dev` has it: all its state in a PostgreSQL database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import dagster as dg

from benchmarks.environment import environment_of
from benchmarks.surroundings import Surroundings
from login_pipeline.local.services import temporary_folder


@contextmanager
def deployment(surroundings: Surroundings, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The environment with DAGSTER_HOME and the instance's database in it; both are forgotten at the end."""
    with surroundings.databases.fresh() as url, temporary_folder() as home:
        configuration = files("login_pipeline.local").joinpath("dagster.yaml").read_text(encoding="utf-8")
        (home / "dagster.yaml").write_text(configuration, encoding="utf-8")
        storage = urlunsplit(urlsplit(url)._replace(scheme="postgresql+psycopg2"))
        yield {**environment, "DAGSTER_HOME": str(home), "LOGIN_DAGSTER_DATABASE_URL": storage}


@contextmanager
def instance_of(environment: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """The instance that this environment names."""
    with environment_of(environment), dg.DagsterInstance.get() as instance:
        yield instance
