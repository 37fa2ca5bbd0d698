"""Proxies between the runs of a world and what they use, for as long as a fault lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from login_pipeline_tests.chaos.changes import retry_at_once
from login_pipeline_tests.chaos.world import World
from login_pipeline_tests.faults.sqs_faults import with_request
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy


@contextmanager
def sqs_proxy(world: World) -> Iterator[SqsProxy]:
    """Runs that start in the block call SQS by way of it. Neither empty polls nor retries wait: that is no fault."""
    with (
        SqsProxy(world.environment["AWS_ENDPOINT_URL_SQS"]) as proxy,
        world.giving(retry_at_once, AWS_ENDPOINT_URL_SQS=proxy.endpoint),
    ):
        proxy.on("ReceiveMessage", with_request(WaitTimeSeconds=0))
        yield proxy


@contextmanager
def database_proxy(world: World) -> Iterator[TcpProxy]:
    """Runs that start in the block reach the database by way of it."""
    with TcpProxy(world.database.url) as proxy, world.giving(LOGIN_DATABASE_URL=proxy.url):
        yield proxy
