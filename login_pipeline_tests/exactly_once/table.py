"""The real tables, in a database whose clock is the simulated one, and with a trigger that refuses some rows."""

from collections import Counter
from datetime import date
from typing import Any

import psycopg2

from login_pipeline.postgres import statements
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.conftest import Database

# Schemas before pg_catalog win: the product's now() is ours. No server crashes here: only a load's commit waits.
_CREATE = """
CREATE SCHEMA simulated;
CREATE TABLE simulated.world (now timestamptz, refusing boolean);
INSERT INTO simulated.world VALUES ('epoch', true);
CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now FROM simulated.world';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = simulated, pg_catalog, public', current_database());
    EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
    EXECUTE format('ALTER DATABASE %I SET timezone = ''UTC''', current_database());
END $$;
"""
_REFUSE = """
CREATE FUNCTION simulated.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.user_id LIKE 'refused%' AND (SELECT refusing FROM simulated.world) THEN RAISE check_violation; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON simulated.user_logins FOR EACH ROW EXECUTE FUNCTION simulated.refuse();
"""


class Table:
    """user_logins and its inbox, seen with the plain driver."""

    def __init__(self, url: str) -> None:
        database = Database(url)
        database.query(_CREATE)
        database.end_sessions()
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        LoginDatabase(read_settings()).prepare()
        self._cursor.execute(_REFUSE)

    def empty(self) -> None:
        for name in ("user_logins", "user_logins_ledger", "user_logins_inbox", "user_logins_dead_letters"):
            self._cursor.execute(f"DELETE FROM simulated.{name}")  # noqa: S608 - faster than TRUNCATE for a few rows

    def set_world(self, *, now: int, refusing: bool) -> None:
        """`now` in seconds since the epoch; while `refusing`, rows whose user_id begins with refused do not get in."""
        self._cursor.execute("UPDATE simulated.world SET now = to_timestamp(%s), refusing = %s", (now, refusing))

    def rows(self) -> "Counter[tuple[Any, ...]]":
        self._cursor.execute("SELECT * FROM simulated.user_logins")
        return Counter(self._cursor.fetchall())

    def inbox(self) -> tuple[set[date], set[str]]:
        """The dates that are closed, and the keys of messages."""
        self._cursor.execute("SELECT create_date FROM simulated.user_logins_ledger WHERE entry = 'pruned'")
        dates = {day for (day,) in self._cursor.fetchall()}
        self._cursor.execute("SELECT message_id FROM simulated.user_logins_inbox")
        return dates, {message_id for (message_id,) in self._cursor.fetchall()}

    def expired_until(self) -> date | None:
        """The newest date that has expired or is closed to that end."""
        self._cursor.execute("SELECT max(create_date) FROM simulated.user_logins_ledger WHERE entry = 'expired'")
        ((day,),) = self._cursor.fetchall()
        return day  # type: ignore[no-any-return]

    def agrees(self) -> bool:
        """Whether each date has the rows that its inbox and ledger account for, as the check on the table asks."""
        self._cursor.execute(statements.checks.rows_that_disagree_with_the_inbox)
        ((_, without_key, without_row),) = self._cursor.fetchall()
        return (without_key, without_row) == (0, 0)

    def close(self) -> None:
        self._connection.close()
