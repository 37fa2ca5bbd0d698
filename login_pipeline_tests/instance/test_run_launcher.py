"""Runs as the daemon launches them by our own dagster.yaml files: forks of a process that has imported everything."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.launcher import DefaultRunLauncher

from login_pipeline.instance.run_launcher import ForkedRunLauncher
from login_pipeline_tests.conftest import Database, Pipeline
from login_pipeline_tests.instance.launched_runs import dagster_instance, ends, launch, processes, soon, status

Body = Callable[..., str]


@pytest.fixture
def instance(pipeline: Pipeline, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(pipeline, tmp_path) as instance:
        yield instance


@contextmanager
def loads_wait(database: Database, message_id: str) -> Iterator[None]:
    """Somebody else is about to commit this message's key."""
    other = psycopg2.connect(database.url)
    other.cursor().execute("INSERT INTO user_logins_inbox (message_id) VALUES (%s)", [message_id])
    try:
        yield
    finally:
        other.close()


def is_waiting(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return database.query(waiting) != [(0,)]


def test_each_run_has_a_process_of_its_own(pipeline: Pipeline, instance: dg.DagsterInstance, body: Body) -> None:
    started = set()
    for rows in (1, 2):
        pipeline.queue.send(body())
        run_id = launch(instance)
        assert ends(instance, run_id, dg.DagsterRunStatus.SUCCESS)
        assert len(pipeline.database.logins()) == rows
        started |= processes(instance, run_id)
    assert len(started) == 2


def test_run_that_is_about_to_end_when_the_daemon_does_ends_on_its_own(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "login_pipeline.instance.run_launcher.LAST_SECONDS", 60
    )  # a busy machine may need more than a few
    pipeline.run()
    (message_id,) = pipeline.queue.send(body())
    with ExitStack() as locks:
        locks.enter_context(loads_wait(pipeline.database, message_id))
        with dg.DagsterInstance.get() as daemon:
            run_id = launch(daemon)
            assert soon(lambda: is_waiting(pipeline.database))
            threading.Timer(1, locks.close).start()
    assert status(instance, run_id) is dg.DagsterRunStatus.SUCCESS
    assert len(pipeline.database.logins()) == 1


@pytest.mark.parametrize("times_away", [0, 1])
def test_run_whose_process_is_killed_fails_as_soon_as_dagster_s_storage_is_there(
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    body: Body,
    monkeypatch: pytest.MonkeyPatch,
    times_away: int,
) -> None:
    away = iter(range(times_away))
    report = instance.report_run_failed

    def report_unless_away(*arguments: Any) -> Any:
        if next(away, None) is not None:
            raise psycopg2.OperationalError
        return report(*arguments)

    monkeypatch.setattr(instance, "report_run_failed", report_unless_away)
    pipeline.run()
    (message_id,) = pipeline.queue.send(body())
    with loads_wait(pipeline.database, message_id):
        run_id = launch(instance)
        assert soon(lambda: is_waiting(pipeline.database))
        (process,) = processes(instance, run_id)
        os.kill(process, signal.SIGKILL)
        assert ends(instance, run_id, dg.DagsterRunStatus.FAILURE)


def test_run_outlives_what_it_was_forked_from(pipeline: Pipeline, instance: dg.DagsterInstance, body: Body) -> None:
    pipeline.run()
    (message_id,) = pipeline.queue.send(body())
    threads = threading.active_count()
    with loads_wait(pipeline.database, message_id):
        run_id = launch(instance)
        assert soon(lambda: is_waiting(pipeline.database))
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
        time.sleep(2)
        assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
    assert ends(instance, run_id, dg.DagsterRunStatus.SUCCESS)
    assert len(pipeline.database.logins()) == 1
    assert soon(lambda: threading.active_count() == threads)


def test_run_of_other_code_is_launched_as_dagster_does(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    monkeypatch.setattr(
        DefaultRunLauncher, "launch_run", lambda _self, context: launched.append(context.dagster_run.run_id)
    )
    assert isinstance(instance.run_launcher, ForkedRunLauncher)
    assert launched == [launch(instance, "somebody_else.definitions")]
