"""Each way in which Dagster ends a run ends the run's process, and its messages are back on the queue at once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_graphql.cli import execute_query

from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.moments import WAITING_LOADS, locked, wait_for
from login_pipeline_tests.faults.sqs_faults import Hold
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.instance.launched_runs import dagster_instance, launch, processes, soon, status

TERMINATE = """
mutation($runId: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $runId, terminatePolicy: $policy) { __typename }
}"""
DELETE = "mutation($runId: String!) { deletePipelineRun(runId: $runId) { __typename } }"

Way = Callable[[dg.DagsterInstance, str], None]


def ask(instance: dg.DagsterInstance, mutation: str, succeeded: str, **variables: str) -> None:
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as web_server:
        answer = execute_query(web_server, mutation, variables)
    assert [result["__typename"] for result in answer["data"].values()] == [succeeded]


def terminated(instance: dg.DagsterInstance, run_id: str) -> None:
    ask(instance, TERMINATE, "TerminateRunSuccess", runId=run_id, policy="SAFE_TERMINATE")


def force_terminated(instance: dg.DagsterInstance, run_id: str) -> None:
    """In the UI: "Force termination immediately"."""
    ask(instance, TERMINATE, "TerminateRunSuccess", runId=run_id, policy="MARK_AS_CANCELED_IMMEDIATELY")
    assert status(instance, run_id) is dg.DagsterRunStatus.CANCELED


def deleted(instance: dg.DagsterInstance, run_id: str) -> None:
    ask(instance, DELETE, "DeletePipelineRunSuccess", runId=run_id)


def too_old(instance: dg.DagsterInstance, run_id: str) -> None:
    """Older than max_runtime_seconds allows."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as daemon:
        assert list(execute_run_monitoring_iteration(daemon, logging.getLogger(__name__))) == [None]
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


WAYS: list[Way] = [terminated, force_terminated, deleted, too_old]


@pytest.fixture
def instance(account: Account, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(account.pipeline, tmp_path) as instance:
        yield instance


@contextmanager
def loading(account: Account, sqs_proxy: SqsProxy, instance: dg.DagsterInstance) -> Iterator[tuple[str, int]]:
    """The id and the process of a run in the middle of its load, which a lock on the table holds."""
    LoginDatabase(read_settings()).prepare()
    account.send(3)
    receiving = Hold(after=True)
    with sqs_proxy.breaking("ReceiveMessage", receiving):
        run_id = launch(instance, tags={MAX_RUNTIME_SECONDS_TAG: "0.01"})
        receiving.wait()
        with locked(account.pipeline.database):
            receiving.let_go()
            wait_for(account.pipeline.database, WAITING_LOADS)
            (process,) = processes(instance, run_id)
            yield run_id, process


def test_run_that_dagster_ends_has_no_process_and_holds_no_messages(
    account: Account, sqs_proxy: SqsProxy, instance: dg.DagsterInstance
) -> None:
    """Another process of Dagster's ends it than the one that launched it, as in production."""
    for way in WAYS:
        with loading(account, sqs_proxy, instance) as (run_id, process):
            with dg.DagsterInstance.get() as other:
                way(other, run_id)
            assert soon(lambda: not psutil.pid_exists(process)), way
        account.assert_nothing_is_lost()
        assert account.rows() == {}, way
        account.pipeline.queue.take_all()  # what is delivered often is released for long
        account.logins.clear()


def test_run_whose_daemon_ends_has_no_process_and_holds_no_messages(
    account: Account, sqs_proxy: SqsProxy, instance: dg.DagsterInstance
) -> None:
    with dg.DagsterInstance.get() as daemon, loading(account, sqs_proxy, daemon) as (run_id, process):
        daemon.dispose()
        assert not psutil.pid_exists(process)
        account.assert_nothing_is_lost()
    assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE
