"""Dagster's records on connections that are kept, against a real PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest

from login_pipeline.definitions import defs
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(params=["deploy/dagster.yaml", "login_pipeline/local/dagster.yaml"])
def instance(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_bytes((ROOT / request.param).read_bytes())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("LOGIN_DAGSTER_DATABASE_URL", database.url.replace("postgresql://", "postgresql+psycopg2://"))
    with dg.DagsterInstance.get() as instance:
        yield instance


def new_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    return instance.create_run_for_job(defs.resolve_job_def("login_job"))


def test_run_and_its_events_are_written_on_connections_that_are_kept(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[object] = []
    connect: Any = psycopg2.connect

    def counted(*dsn: str, **options: object) -> object:
        connections.append(dsn)
        return connect(*dsn, **options)

    monkeypatch.setattr(psycopg2, "connect", counted)
    run = new_run(instance)
    for number in range(20):
        instance.report_engine_event(str(number), run)
    assert len(instance.all_logs(run.run_id)) > 20
    assert len(connections) <= 2


def test_server_that_ended_the_connection_costs_nothing(instance: dg.DagsterInstance, database: Database) -> None:
    run = new_run(instance)
    ended = database.query(f"SELECT pg_terminate_backend(pid, 5000) {OTHERS}")
    assert ended
    assert set(ended) == {(True,)}
    instance.report_engine_event("after the restart", run)
    assert "after the restart" in {event.message for event in instance.all_logs(run.run_id)}


def test_threads_do_not_wait_for_each_other_s_connection(instance: dg.DagsterInstance) -> None:
    run = new_run(instance)
    with ThreadPoolExecutor(8) as pool:
        for reported in [pool.submit(instance.report_engine_event, str(number), run) for number in range(40)]:
            reported.result()
    assert len({event.message for event in instance.all_logs(run.run_id)} & {str(number) for number in range(40)}) == 40
