"""The pipeline with a proxy between it and each of its services."""

from collections.abc import Callable, Iterator

import pytest

from login_pipeline_tests.conftest import Pipeline, Servers
from login_pipeline_tests.faults.account import Account, assert_no_personal_data
from login_pipeline_tests.faults.sqs_faults import released_at_once, with_request
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy


@pytest.fixture
def sqs_proxy(pipeline: Pipeline, servers: Servers) -> Iterator[SqsProxy]:
    """In front of SQS. Empty polls do not wait, and what is released is there at once: neither is a fault."""
    with SqsProxy(servers.sqs_endpoint) as proxy:
        proxy.on("ReceiveMessage", with_request(WaitTimeSeconds=0))
        proxy.on("ChangeMessageVisibilityBatch", released_at_once)
        pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
        yield proxy


@pytest.fixture
def tcp_proxy(pipeline: Pipeline) -> Iterator[TcpProxy]:
    """In front of the database."""
    with TcpProxy(pipeline.database.url) as proxy:
        pipeline.set(LOGIN_DATABASE_URL=proxy.url)
        yield proxy


@pytest.fixture
def account(pipeline: Pipeline, sqs_proxy: SqsProxy, body: Callable[..., str]) -> Account:
    """Of a pipeline whose SQS is behind the proxy."""
    return Account(pipeline, body)


@pytest.fixture(autouse=True)
def _no_personal_data_in_the_output(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Of this process and of those that it starts, also where something breaks."""
    yield
    assert_no_personal_data(*capfd.readouterr())


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's retries are real; only the seconds between them are not waited for."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
