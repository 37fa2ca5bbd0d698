"""Workers that take runs from Redis."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import gethostname
from typing import NamedTuple
from urllib.parse import urlsplit

import dagster as dg
import pytest
import trustme
from celery.exceptions import OperationalError
from dagster._core.launcher import LaunchRunContext

from login_pipeline.instance import HOST_TAG
from login_pipeline.instance.celery_config import lease, redis_client
from login_pipeline.local.ports import HOST, wait_until
from login_pipeline_tests.conftest import Command, Pipeline, Servers, new_database
from login_pipeline_tests.faults.tls_proxy import RedisTlsProxy
from login_pipeline_tests.instance.cluster import Cluster
from login_pipeline_tests.instance.cluster import cluster as new_cluster

SUCCESS = dg.DagsterRunStatus.SUCCESS
IGNORED = "Ignoring a run worker that started after the run had already finished."


@pytest.fixture
def cluster(pipeline: Pipeline, tmp_path: Path) -> Iterator[Cluster]:
    with new_cluster(pipeline, tmp_path) as cluster:
        yield cluster


def test_runs_are_spread_over_the_workers_each_in_a_process_of_its_own_that_names_its_host(
    pipeline: Pipeline, cluster: Cluster, body: Callable[..., str]
) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=1)
    cluster.worker(), cluster.worker()
    pipeline.queue.send(*(body() for _ in range(6)))
    ids = [cluster.launch() for _ in range(6)]
    assert all(cluster.ends(run_id, SUCCESS) for run_id in ids)
    assert len(pipeline.database.logins()) == 6
    assert len({cluster.began(run_id)[0] for run_id in ids}) == 6
    assert {cluster.run(run_id).tags[HOST_TAG] for run_id in ids} == {gethostname()}
    first, second = [{run_id for run_id in ids if run_id in worker.log()} for worker in cluster.workers]
    assert first
    assert second
    assert not first & second


def test_runs_reach_a_worker_by_tls_and_a_url_without_options(
    pipeline: Pipeline, cluster: Cluster, body: Callable[..., str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with RedisTlsProxy(cluster.redis.url, authority.issue_cert(HOST)) as proxy:
        pipeline.set(LOGIN_REDIS_URL=f"rediss://{HOST}:{proxy.port}/0", SSL_CERT_FILE=str(tmp_path / "authority.pem"))
        with dg.DagsterInstance.get() as cluster.instance:
            cluster.worker()
            pipeline.queue.send(body())
            assert cluster.ends(cluster.launch(), SUCCESS)
    assert len(pipeline.database.logins()) == 1


def test_run_that_is_delivered_again_is_not_run_again(
    pipeline: Pipeline, cluster: Cluster, body: Callable[..., str]
) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=1)
    cluster.worker()
    pipeline.queue.send(body(), body())
    run_id = cluster.launch()
    assert cluster.ends(run_id, SUCCESS)
    cluster.instance.run_launcher.launch_run(LaunchRunContext(cluster.run(run_id), workspace=None))
    assert wait_until(lambda: IGNORED in [event.message for event in cluster.instance.all_logs(run_id)], seconds=60)
    assert len(pipeline.database.logins()) == 1
    assert cluster.run(run_id).status is SUCCESS


def test_run_that_another_process_is_about_to_begin_is_not_begun_until_that_one_is_gone(
    pipeline: Pipeline, cluster: Cluster, body: Callable[..., str]
) -> None:
    pipeline.queue.send(body())
    run_id = cluster.launch()
    with closing(redis_client(cluster.redis.url)) as client:
        client.set(lease(run_id), "another process")
        cluster.worker()
        assert not wait_until(lambda: bool(cluster.began(run_id)), seconds=10)
        client.delete(lease(run_id))
    assert cluster.ends(run_id, SUCCESS)
    assert len(pipeline.database.logins()) == 1


def test_run_that_is_terminated_while_it_waits_for_a_worker_is_canceled_and_receives_nothing(
    pipeline: Pipeline, cluster: Cluster, body: Callable[..., str]
) -> None:
    pipeline.queue.send(body())
    run_id = cluster.launch()
    assert cluster.instance.run_launcher.terminate(run_id)
    cluster.worker()
    assert cluster.ends(run_id, dg.DagsterRunStatus.CANCELED)
    assert not cluster.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
    assert cluster.ends(cluster.launch(), SUCCESS)
    assert len(pipeline.database.logins()) == 1


class DagstersDatabase(NamedTuple):
    pipeline: Pipeline
    name: str

    def is_away(self, away: bool) -> None:
        """Nobody can connect, and Dagster connects for each statement."""
        self.pipeline.database.query(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS {not away}')


@pytest.fixture
def dagsters(pipeline: Pipeline, cluster: Cluster, servers: Servers) -> Iterator[DagstersDatabase]:
    """A database of Dagster's own, to which no pooler keeps a session."""
    with new_database(servers._replace(database_url=servers.direct_database_url)) as database:
        pipeline.set(LOGIN_DAGSTER_DATABASE_URL=database.url.replace("postgresql://", "postgresql+psycopg2://"))
        with dg.DagsterInstance.get() as cluster.instance:
            yield DagstersDatabase(pipeline, urlsplit(database.url).path[1:])
            for worker in cluster.workers:
                worker.kill()


def test_run_waits_for_dagsters_database_where_it_is_away_when_a_worker_takes_the_run(
    pipeline: Pipeline, cluster: Cluster, dagsters: DagstersDatabase, body: Callable[..., str]
) -> None:
    """Also where its process is lost then."""
    pipeline.queue.send(body())
    run_id = cluster.launch()
    dagsters.is_away(True)
    worker = cluster.worker()
    waits = f"Run {run_id} waits"
    assert wait_until(lambda: worker.log().count(waits) > 1, seconds=60)
    for process in worker.process.children():
        process.kill()
    before = worker.log().count(waits)
    assert wait_until(lambda: worker.log().count(waits) > before, seconds=60)
    dagsters.is_away(False)
    assert cluster.ends(run_id, SUCCESS)
    assert len(pipeline.database.logins()) == 1


def test_run_that_loses_dagsters_database_as_it_begins_fails_when_that_is_back(
    pipeline: Pipeline, cluster: Cluster, dagsters: DagstersDatabase, body: Callable[..., str]
) -> None:
    pipeline.queue.send(body())
    run_id = cluster.launch()
    worker = cluster.worker()
    with closing(redis_client(cluster.redis.url)) as client:
        while not client.exists(lease(run_id)):
            pass
    dagsters.is_away(True)
    assert wait_until(lambda: f"Run {run_id} waits" in worker.log(), seconds=60)
    dagsters.is_away(False)
    assert cluster.ends(run_id, dg.DagsterRunStatus.FAILURE)
    assert cluster.ends(cluster.launch(), SUCCESS)
    assert len(pipeline.database.logins()) == 1


def test_run_that_redis_cannot_take_is_not_launched(cluster: Cluster) -> None:
    cluster.redis.kill()
    with pytest.raises(OperationalError):
        cluster.launch()


def test_worker_needs_redis_and_celery_and_a_masking_key(
    pipeline: Pipeline, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    exit_code, _, sentence = command("worker")
    assert exit_code == 2
    assert "LOGIN_REDIS_URL is not set" in sentence
    pipeline.set(LOGIN_REDIS_URL="http://example.com")
    assert "LOGIN_REDIS_URL: is not the URL of a Redis server" in command("worker")[2]
    pipeline.set(LOGIN_REDIS_URL="redis://127.0.0.1:1/0")
    monkeypatch.setitem(sys.modules, "login_pipeline.instance.worker", None)
    assert "the extra `cluster` of login-pipeline" in command("worker")[2]
    pipeline.set(LOGIN_MASKING_KEY=None)
    assert "LOGIN_MASKING_KEY" in command("worker")[2]
