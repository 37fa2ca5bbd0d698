"""Locks, limits and triggers on a world's tables: what other sessions of its database do to a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from login_pipeline_tests.chaos.between import sqs_proxy
from login_pipeline_tests.chaos.run_process import RunProcess
from login_pipeline_tests.chaos.world import RUN_SECONDS, World
from login_pipeline_tests.conftest import Database
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked
from login_pipeline_tests.faults.sqs_faults import Hold

_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '%', NEW USING ERRCODE = '{condition}';
    END $$;
    CREATE OR REPLACE TRIGGER refuse_{name} BEFORE INSERT ON user_logins
    FOR EACH ROW WHEN (NEW.user_id LIKE '{prefix}%') EXECUTE FUNCTION refuse_{name}();
"""


def make_tables(world: World) -> None:
    """Runs once where there are none yet."""
    if world.database.query("SELECT to_regclass('user_logins_dead_letters')") == [(None,)]:
        world.run()


@contextmanager
def load_in_its_transaction(world: World) -> Iterator[tuple[RunProcess, bool]]:
    """A run whose load waits for a lock until the block is left, when it ends; and whether it got there."""
    make_tables(world)
    received = Hold(after=True)
    with sqs_proxy(world) as proxy:
        proxy.on("ReceiveMessage", received)
        process = world.start()
        try:
            received.wait()
            with locked(world.database):
                received.let_go()
                yield process, _waits(world.database, seconds=5)
            process.listen(seconds=RUN_SECONDS)
        finally:
            received.let_go()


def refuse_rows(database: Database, *, name: str, prefix: str, condition: str) -> None:
    """From now on rows whose user_id begins with `prefix` are refused, with the row quoted in the error."""
    database.query(_REFUSE.format(name=name, prefix=prefix, condition=condition))


def take_rows(database: Database, *, name: str) -> None:
    """Takes that back."""
    database.query(f"DROP FUNCTION refuse_{name}() CASCADE")


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """New transactions of new sessions may not write."""
    change = f'ALTER DATABASE "{urlsplit(database.url).path[1:]}" {{}} default_transaction_read_only'
    database.query(change.format("SET") + " = on")
    try:
        yield
    finally:
        database.query("SET transaction_read_only = off; " + change.format("RESET"))


def _waits(database: Database, *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while database.query(WAITING_LOADS) == [(0,)]:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
