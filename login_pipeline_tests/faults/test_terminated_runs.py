"""Each way in which Dagster ends a run ends the run's process, and its messages are back on the queue at once."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster_graphql.cli import execute_query

from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.instance.cluster import Cluster, loading
from login_pipeline_tests.instance.cluster import cluster as new_cluster

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


def terminated_as_it_begins(instance: dg.DagsterInstance, run_id: str) -> None:
    """Its process read the run before that, and reports that it starts."""
    terminated(instance, run_id)
    start = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, "login_job")
    instance.report_dagster_event(start, run_id)


def deleted(instance: dg.DagsterInstance, run_id: str) -> None:
    ask(instance, DELETE, "DeletePipelineRunSuccess", runId=run_id)


def too_old(instance: dg.DagsterInstance, run_id: str) -> None:
    """Older than max_runtime_seconds allows."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as daemon:
        assert list(execute_run_monitoring_iteration(daemon, logging.getLogger(__name__))) == [None]


WAYS: dict[Way, dg.DagsterRunStatus | None] = {
    terminated: dg.DagsterRunStatus.CANCELED,
    force_terminated: dg.DagsterRunStatus.CANCELED,
    terminated_as_it_begins: dg.DagsterRunStatus.CANCELED,
    deleted: None,
    too_old: dg.DagsterRunStatus.FAILURE,
}


@pytest.fixture
def cluster(account: Account, tmp_path: Path) -> Iterator[Cluster]:
    with new_cluster(account.pipeline, tmp_path) as cluster:
        LoginDatabase(read_settings()).prepare()
        cluster.worker()
        yield cluster


def test_run_that_dagster_ends_has_no_process_and_holds_no_messages(
    account: Account, sqs_proxy: SqsProxy, cluster: Cluster
) -> None:
    """Another process of Dagster's ends it than the one that launched it, as in production."""
    for way, status in WAYS.items():
        with loading(cluster, account, sqs_proxy, tags={MAX_RUNTIME_SECONDS_TAG: "0.01"}) as (run_id,):
            process = cluster.process(run_id)
            with dg.DagsterInstance.get() as other:
                way(other, run_id)
            process.wait(30)
        run = cluster.instance.get_run_by_id(run_id)
        assert (run and run.status) is status, way
        account.assert_nothing_is_lost()
        assert account.rows() == {}, way
        account.pipeline.queue.take_all()  # what is delivered often is released for long
        account.logins.clear()


def test_run_that_is_terminated_while_it_waits_for_a_worker_does_nothing(account: Account, cluster: Cluster) -> None:
    (worker,) = cluster.workers
    account.send(1)
    worker.process.suspend()
    run_id = cluster.launch()
    force_terminated(cluster.instance, run_id)  # the UI offers no other way
    worker.process.resume()
    assert cluster.ends(cluster.launch(), dg.DagsterRunStatus.SUCCESS)
    assert not cluster.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
    assert cluster.run(run_id).status is dg.DagsterRunStatus.CANCELED
