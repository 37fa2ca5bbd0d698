"""Runs on workers, of which processes, hosts and Redis are lost: what becomes of the runs and of their messages."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from login_pipeline.instance.run_launcher import MISSING_SECONDS
from login_pipeline.local.ports import wait_until
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline_tests.faults.account import Account
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.instance.cluster import Cluster, Worker, loading
from login_pipeline_tests.instance.cluster import cluster as new_cluster

CANCELED, FAILURE, SUCCESS = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def cluster(account: Account, tmp_path: Path) -> Iterator[Cluster]:
    account.pipeline.set(LOGIN_BATCH_SIZE=3, LOGIN_VISIBILITY_TIMEOUT=30)
    with new_cluster(account.pipeline, tmp_path) as cluster:
        LoginDatabase(read_settings()).prepare()
        yield cluster


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def worker_of(cluster: Cluster, process: psutil.Process) -> Worker:
    (worker,) = [worker for worker in cluster.workers if worker.process.pid == process.ppid()]
    return worker


def drained(cluster: Cluster, account: Account) -> bool:
    """Whether runs load what is left, as soon as its visibility timeout is over."""
    return wait_until(
        lambda: cluster.ends(cluster.launch(), SUCCESS) and len(account.rows()) == len(account.logins), seconds=60
    )


def test_run_of_a_lost_process_worker_or_host_fails_within_a_minute_and_its_messages_are_loaded(
    cluster: Cluster, account: Account, sqs_proxy: SqsProxy
) -> None:
    for _ in range(3):
        cluster.worker()
    with loading(cluster, account, sqs_proxy, runs=3) as ids:
        killed, orphan, cut_off = [cluster.process(run_id) for run_id in ids]
        host = worker_of(cluster, cut_off).processes()
        worker_of(cluster, orphan).process.kill()
        killed.kill()
        for process in host:
            process.suspend()
        assert cluster.until_monitored(lambda: {cluster.run(run_id).status for run_id in ids} == {FAILURE}, seconds=60)
        assert has_ended(orphan)
        for process in host:  # it is back on the network
            process.resume()
        assert wait_until(lambda: has_ended(cut_off), seconds=30)
    assert drained(cluster, account)
    account.assert_nothing_is_lost()


def test_run_outlives_a_redis_server_that_loses_its_data(
    cluster: Cluster, account: Account, sqs_proxy: SqsProxy
) -> None:
    """And its worker takes the next one. A new daemon knows no more than the old one did."""
    cluster.worker()
    with loading(cluster, account, sqs_proxy) as (run_id,):
        cluster.redis.kill()
        cluster.monitored()
        cluster.redis.start()
        assert not cluster.until_monitored(lambda: cluster.run(run_id).is_finished, seconds=1.5 * MISSING_SECONDS)
        with dg.DagsterInstance.get() as daemon:
            cluster.monitored(daemon)
        assert cluster.run(run_id).status is STARTED
    assert cluster.ends(run_id, SUCCESS)
    assert drained(cluster, account)


def test_run_of_a_worker_that_is_stopped_releases_its_messages_and_its_worker_ends(
    cluster: Cluster, account: Account, sqs_proxy: SqsProxy
) -> None:
    worker = cluster.worker()
    with loading(cluster, account, sqs_proxy) as (run_id,):
        assert worker.stop() == 0
        account.assert_nothing_is_lost()
    assert cluster.run(run_id).status is FAILURE
    assert account.rows() == {}
