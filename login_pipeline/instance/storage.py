"""The storage of Dagster's own records in PostgreSQL, on connections that each process keeps: two at most.

A dagster.yaml names it: Dagster's own opens a connection for each statement and closes it again, over a hundred in a
run that lasts seconds, and both sides pay for each.
"""

import re
from typing import TYPE_CHECKING, Any

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from psycopg2.extensions import parse_dsn
from sqlalchemy.engine import make_url

from login_pipeline.database_url import trusting_the_system, url_problem
from login_pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData
    from dagster_postgres.auth import PgTokenProvider

# The age at which a connection is replaced, as in Dagster's web server.
RECYCLE_SECONDS = 3600


class KeptConnectionStorage(DagsterPostgresStorage):
    """Dagster's PostgreSQL storage, in which connections are used again; configured just as that is.

    Threads that need more at the same moment get more, for that moment. Before each use a connection is asked whether
    it still works, and made anew if not, so that a server's restart is survived as it is with a connection each.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: "ConfigurableClassData | None" = None,
        token_provider: "PgTokenProvider | None" = None,
    ) -> None:
        postgres_url = _usable(postgres_url)
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        engine = create_pg_engine(
            postgres_url,
            token_provider,
            isolation_level="AUTOCOMMIT",  # as Dagster's own engines
            pool_size=2,  # some of what Dagster asks, it asks while it reads another result
            max_overflow=-1,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_SECONDS,
        )
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = engine

    @classmethod
    def from_config_value(cls, inst_data: "ConfigurableClassData | None", config_value: Any) -> "KeptConnectionStorage":
        """Made by Dagster, of what the dagster.yaml says."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


def _usable(url: str) -> str:
    """The URL, with the certificate authorities that it names as sslrootcert=system.

    Raises:
        ConfigurationError: it cannot be used; SQLAlchemy and libpq would quote it.
    """
    of_libpq = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)  # without SQLAlchemy's driver
    if problem := url_problem(of_libpq):
        raise ConfigurationError(f"LOGIN_DAGSTER_DATABASE_URL: {problem}")
    trusted = trusting_the_system(parse_dsn(of_libpq))
    return make_url(url).update_query_dict(trusted).render_as_string(hide_password=False)
