"""Days of a trickle in seconds: the sensor's decisions by a clock of our own, and real rows of Dagster's, copied.

`python -m login_pipeline_tests.defs.simulated_days` prints what Dagster's storage holds after each of three days.
"""

import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import click
import dagster as dg
import psycopg2

from login_pipeline.cli.runs import run
from login_pipeline.defs import sensors
from login_pipeline.defs.run_history import purge
from login_pipeline.local.sample_messages import sample_messages
from login_pipeline.local.services import local_services, temporary_folder
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.queue import QueueDepth

TABLES = ("runs", "run_tags", "event_logs", "asset_check_executions")
TICK = timedelta(seconds=5)
MESSAGES_A_TICK = 15
# A row as JSON, with the run's id replaced wherever it is and each of its times moved; keys that a table does not have
# are left out of it again. Ids are below the original's: it is the newest.
COPY = """
INSERT INTO {table}
SELECT moved.*
FROM {table} AS original
CROSS JOIN (
    SELECT md5(%(run_id)s || %(start)s::text || number)::uuid::text AS run_id,
           %(start)s + number * %(every)s - %(now)s AS shift
    FROM generate_series(0, %(count)s - 1) AS number
) AS copy
CROSS JOIN LATERAL (
    SELECT replace(to_jsonb(original)::text, %(run_id)s, copy.run_id)::jsonb AS fields
) AS renamed
CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, fields || jsonb_build_object(
    'id', -nextval(pg_get_serial_sequence('{table}', 'id')),
    'create_timestamp', (fields ->> 'create_timestamp')::timestamp + shift,
    'update_timestamp', (fields ->> 'update_timestamp')::timestamp + shift,
    'timestamp', (fields ->> 'timestamp')::timestamp + shift,
    'evaluation_event_timestamp', (fields ->> 'evaluation_event_timestamp')::timestamp + shift,
    'start_time', (fields ->> 'start_time')::float + extract(epoch FROM shift),
    'end_time', (fields ->> 'end_time')::float + extract(epoch FROM shift)
)) AS moved
WHERE original.run_id = %(run_id)s AND original.id > 0
"""


COUNTS = """
SELECT (SELECT count(*) FROM runs),
       (SELECT count(*) FROM event_logs WHERE run_id <> ''),
       (SELECT count(*) FROM event_logs WHERE run_id = ''),
       (SELECT count(*) FROM asset_check_executions),
       (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relname = ANY (%(tables)s))
"""


class Trickle(NamedTuple):
    """What the sensor asked Dagster to keep."""

    runs: int
    observations: int


class Stored(NamedTuple):
    """What Dagster's storage holds: rows, and the bytes of its tables with their indexes."""

    runs: int
    events: int
    observations: int
    check_results: int
    bytes: int


def simulated_trickle(*, hours: int) -> Trickle:
    """The sensor's ticks while three messages a second come; each run takes all that are there."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    cursor = sensors._Cursor()
    newest_run = None
    messages = runs = observations = 0
    for tick in range(int(timedelta(hours=hours) / TICK)):
        messages += MESSAGES_A_TICK
        depth = QueueDepth(messages, 0, 0)
        newest = sensors._newest_since(newest_run, cursor.newest, now)
        observed = sensors._observed(depth, cursor.observed, now)
        observations += observed != cursor.observed
        cursor = sensors._Cursor(newest=newest, observed=observed)
        waits = sensors._waits_until(newest, timedelta(minutes=1), now) is not None
        if wanted := sensors._wanted_runs(sensors._batches(depth, 50_000, waits=waits), [], 2):
            runs += wanted
            newest_run, messages = str(tick), 0
        now += TICK
    return Trickle(runs, observations)


def copy_run(url: str, run_id: str, start: datetime, every: timedelta, count: int) -> None:
    """Copies a run and all that Dagster keeps of it: the first copy is made as if at `start`, the others follow."""
    for table in TABLES:
        _copy(url, table, run_id, start, every, count)


def copy_observation(url: str, start: datetime, every: timedelta, count: int) -> None:
    """Copies the one observation that no run made."""
    _copy(url, "event_logs", "", start, every, count)


def stored(url: str) -> Stored:
    """What is there, after autovacuum's work."""
    for table in TABLES:
        _execute(url, f"VACUUM ANALYZE {table}")
    return Stored(*_execute(url, COUNTS, tables=list(TABLES))[0])


def _copy(url: str, table: str, run_id: str, start: datetime, every: timedelta, count: int) -> None:
    times = {"start": start.replace(tzinfo=None), "now": datetime.now(UTC).replace(tzinfo=None), "every": every}
    _execute(url, COPY.format(table=table), run_id=run_id, count=count, **times)


def _execute(url: str, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True  # or there is no VACUUM
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def main() -> None:
    """Three days of a trickle that are kept for one day each."""
    with temporary_folder() as folder, local_services(folder) as settings:
        os.environ.update(settings)
        LoginQueues(read_settings()).login_queue.send([{"MessageBody": body} for body in sample_messages(50)])
        url = settings["LOGIN_DAGSTER_DATABASE_URL"].replace("+psycopg2", "")
        with dg.DagsterInstance.get() as instance:
            instance.report_runless_asset_event(dg.AssetObservation("login_queue", metadata={"messages": 50}))
            assert run("login_job", instance).passed
            (run_id,) = [each.run_id for each in instance.get_runs()]
            trickle = simulated_trickle(hours=24)
            click.echo(f"a day has {trickle}")
            start = datetime.now(UTC)
            for day in range(1, 4):
                every = timedelta(days=1) / trickle.runs
                copy_run(url, run_id, start, every, trickle.runs)
                copy_observation(url, start, timedelta(days=1) / trickle.observations, trickle.observations)
                start += timedelta(days=1)
                click.echo(f"day {day}, before the purge: {stored(url)}")
                began = time.monotonic()
                purged = purge(instance, days=1, now=start)
                click.echo(f"day {day}, {time.monotonic() - began:.1f} s later: {purged}, {stored(url)}")


if __name__ == "__main__":
    main()
