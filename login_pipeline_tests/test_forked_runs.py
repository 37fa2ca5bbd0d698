"""Runs as the daemon launches them by our own dagster.yaml files: forks of a process that has imported everything."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import DefaultRunLauncher, LaunchRunContext

from login_pipeline.definitions import defs
from login_pipeline.forked_runs import DEFINITIONS, ForkedRunLauncher
from login_pipeline.local.ports import wait_until
from login_pipeline_tests.conftest import Database, Pipeline

Body = Callable[..., str]


@pytest.fixture
def instance(pipeline: Pipeline, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """As `login-pipeline dev` configures it, with its records beside the logins."""
    (tmp_path / "dagster.yaml").write_text(files("login_pipeline.local").joinpath("dagster.yaml").read_text())
    storage = pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://")
    pipeline.set(LOGIN_DAGSTER_DATABASE_URL=storage, DAGSTER_HOME=str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next test's environment is another one


def launch(instance: dg.DagsterInstance, module: str = DEFINITIONS) -> str:
    """Starts a run of login_job as the daemon does; its id."""
    origin = ReconstructableRepository.for_module(module, "defs").get_reconstructable_job("login_job")
    run = instance.create_run_for_job(
        defs.resolve_job_def("login_job"),
        job_code_origin=origin.get_python_origin(),
        status=dg.DagsterRunStatus.STARTING,
    )
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run.run_id


def soon(holds: Callable[[], bool]) -> bool:
    return wait_until(holds, seconds=60, still_possible=lambda: True)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus | None:
    run = instance.get_run_by_id(run_id)
    return run.status if run else None


def ends(instance: dg.DagsterInstance, run_id: str, as_: dg.DagsterRunStatus) -> bool:
    return soon(lambda: status(instance, run_id) is as_)


def processes(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    """What each of its processes told at its start, with its id."""
    told = {event.message or "" for event in instance.all_logs(run_id)}
    return {message for message in told if message.startswith("Started process for run")}


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


def test_run_that_another_process_terminates_hands_its_messages_back(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body
) -> None:
    pipeline.run()
    (message_id,) = pipeline.queue.send(body())
    with loads_wait(pipeline.database, message_id):
        run_id = launch(instance)
        assert soon(lambda: is_waiting(pipeline.database))
        with dg.DagsterInstance.get() as web_server:
            assert web_server.run_launcher.terminate(run_id)
            assert ends(instance, run_id, dg.DagsterRunStatus.CANCELED)
            assert not web_server.run_launcher.terminate(run_id)
    assert soon(lambda: pipeline.queue.depth() == (1, 0))
    assert pipeline.database.logins() == []


def test_end_of_the_daemon_ends_its_runs_and_waits_until_they_handed_their_messages_back(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body
) -> None:
    pipeline.run()
    (message_id,) = pipeline.queue.send(body())
    with loads_wait(pipeline.database, message_id):
        with dg.DagsterInstance.get() as daemon:
            run_id = launch(daemon)
            assert soon(lambda: is_waiting(pipeline.database))
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.is_finished
        assert not is_waiting(pipeline.database)
    assert soon(lambda: pipeline.queue.depth() == (1, 0))


def test_run_that_is_about_to_end_when_the_daemon_does_ends_by_itself(
    pipeline: Pipeline, instance: dg.DagsterInstance, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("login_pipeline.forked_runs.LAST_SECONDS", 60)  # a busy machine may need more than a few
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
        (told,) = processes(instance, run_id)
        os.kill(int("".join(filter(str.isdigit, told))), signal.SIGKILL)
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
