"""The faults of PostgreSQL, and of the way to it, while a run loads or is about to; and of what it is given."""

import random
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from login_pipeline.local.ports import wait_until
from login_pipeline_tests.chaos.changes import do_not_wait_for_locks, do_not_wait_for_the_primary
from login_pipeline_tests.chaos.fault import FEW, Cycle, Fault, until_hit
from login_pipeline_tests.chaos.messages import MALFORMED, drafts, logins, malformed
from login_pipeline_tests.chaos.run_process import RunProcess
from login_pipeline_tests.chaos.seams import Moment, Step
from login_pipeline_tests.chaos.world import RUN_SECONDS, World
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, read_only
from login_pipeline_tests.faults.sqs_faults import Hold
from login_pipeline_tests.faults.tcp_proxy import LOAD, RECORD
from login_pipeline_tests.faults.tcp_proxy import Fault as AtCommit

# Those that every run does.
STEPS = (Step.RECEIVE, Step.COPY, Step.INSERT, Step.COMMIT, Step.DELETE)
# In which a run reaches its steps on an idle machine.
STEP_SECONDS = 1.2
# More than the last page of a table has room for.
MANY_ROWS = 60
# What the user_ids begin with that a trigger refuses for as long as the world is there.
NEVER_TAKEN = "never-taken-"
CONNECTIONS = """
    CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD %s;
    GRANT CREATE, USAGE ON SCHEMA public TO {role};
    GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role};
"""
TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name = 'login-pipeline' AND datname = current_database()
"""


def commit_breaks(fault: AtCommit) -> Cycle:
    """The first or the second COMMIT of a load, or that of the dead letters' record, breaks once or twice."""

    def attempt(world: World, source: random.Random) -> bool:
        with world.database_proxy() as proxy:
            statement = source.choice((LOAD, LOAD, RECORD))
            proxy.at_commit(AtCommit.NONE, times=source.choice((0, 1)) if statement is LOAD else 0, of=statement)
            proxy.at_commit(fault, times=source.choice((1, 1, 2)), of=statement)
            world.run()
        return proxy.broken > 0

    return until_hit(attempt)


@until_hit
def database_restarted(world: World, source: random.Random) -> bool:
    """In the middle of a load's transaction."""
    assert world.server
    with _load_in_its_transaction(world) as (run, waits):
        run.listen(seconds=source.uniform(0, 0.3))
        world.server.restart()
    world.ended(run)
    return waits


@until_hit
def backend_terminated(world: World, source: random.Random) -> bool:
    """The same, where only the run's own connection ends."""
    with _load_in_its_transaction(world) as (run, waits):
        run.listen(seconds=source.uniform(0, 0.3))
        world.database.query(TERMINATE)
    world.ended(run)
    return waits


def table_locked(world: World, source: random.Random) -> None:
    """For longer than a run waits before it receives, or for a while from some step of a run on."""
    world.make_tables()
    with world.giving(do_not_wait_for_locks):
        if source.random() < 0.3:
            with locked(world.database):
                world.run()
            return
        run = _run_at_some_step(world, source)
        with locked(world.database):
            run.listen(seconds=source.uniform(0, 2))
        world.ended(run)


def database_read_only(world: World, source: random.Random) -> None:
    """From some step of a run on."""
    world.make_tables()
    with world.giving(do_not_wait_for_the_primary):
        run = _run_at_some_step(world, source)
    with read_only(world.database):
        world.ended(run)


@until_hit
def too_many_connections(world: World, source: random.Random) -> bool:
    """From some step of a run on others have all the connections that its role may have, for a while."""
    world.make_tables()
    with _only_one_connection(world) as url, world.giving(LOGIN_DATABASE_URL=url):
        run = _run_at_some_step(world, source)
        others: list[psycopg2.extensions.connection] = []

        def connected() -> bool:
            with suppress(psycopg2.OperationalError):
                others.append(psycopg2.connect(url))
            return bool(others)

        if wait_until(connected, seconds=1, still_possible=lambda: True):
            with closing(others[0]):
                run.listen(seconds=source.uniform(0, 2))
        world.ended(run)
    return bool(others)


def disk_full(world: World, source: random.Random) -> None:
    """From some step of a run on until it has ended."""
    assert world.server
    world.make_tables()
    world.send(list(drafts(source, MANY_ROWS)))
    with world.giving(LOGIN_BATCH_SIZE=str(MANY_ROWS)):
        run = _run_at_some_step(world, source)
        world.server.disk.fill()
        world.ended(run)
        world.server.disk.free()


def poison(world: World, source: random.Random) -> None:
    """One body for each reason to reject one, among good ones."""
    for reason in MALFORMED:
        world.send([malformed(source, reason), *logins(source, 1)])
    with world.giving(LOGIN_BATCH_SIZE="100"):
        world.run()


def rows_refused(world: World, source: random.Random) -> None:
    """Some messages are valid, and a trigger refuses their rows; it quotes them."""
    world.make_tables()
    world.refuse_rows(NEVER_TAKEN, "raise_exception")
    refused = [draft._replace(valid=False) for draft in logins(source, source.randrange(1, 8), prefix=NEVER_TAKEN)]
    messages = [*refused, *logins(source, 10)]
    source.shuffle(messages)
    world.send(messages)
    with world.giving(LOGIN_BATCH_SIZE="100"):
        world.run()


@contextmanager
def _load_in_its_transaction(world: World) -> Iterator[tuple[RunProcess, bool]]:
    """A run whose load waits for a lock until the block is left, when it ends; and whether it got there."""
    world.make_tables()
    received = Hold(after=True)
    with world.sqs_proxy() as proxy:
        proxy.on("ReceiveMessage", received)
        process = world.start()
        try:
            received.wait()
            with locked(world.database):
                received.let_go()
                yield (
                    process,
                    wait_until(
                        lambda: world.database.query(WAITING_LOADS) != [(0,)], seconds=5, still_possible=lambda: True
                    ),
                )
            process.listen(seconds=RUN_SECONDS)
        finally:
            received.let_go()


def _run_at_some_step(world: World, source: random.Random) -> RunProcess:
    """A run that is at one of its steps now, or has just been started."""
    run = world.start()
    if source.random() < 0.7:
        run.reaches(Moment(source.choice(("before", "after")), source.choice(STEPS)), seconds=STEP_SECONDS)
    return run


@contextmanager
def _only_one_connection(world: World) -> Iterator[str]:
    """The URL for a role that may connect once. PostgreSQL limits no superuser."""
    role, password = f"chaos_{secrets.token_hex(8)}", secrets.token_hex(16)
    world.database.query(CONNECTIONS.format(role=role), password)
    parts = urlsplit(world.database.url)
    yield urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))
    world.database.query(f"DROP OWNED BY {role}; DROP ROLE {role}")


DATABASE_FAULTS = (
    Fault("answer to COMMIT lost", commit_breaks(AtCommit.ANSWER_LOST), FEW),
    Fault("COMMIT lost", commit_breaks(AtCommit.COMMIT_LOST), FEW),
    Fault("database restarted", database_restarted, FEW),
    Fault("backend terminated", backend_terminated, FEW),
    Fault("table locked", table_locked, FEW),
    Fault("database read-only", database_read_only, FEW),
    Fault("too many connections", too_many_connections, FEW),
    Fault("disk full", disk_full, FEW),
    Fault("poison", poison, FEW),
    Fault("rows refused by a trigger", rows_refused, FEW),
)
