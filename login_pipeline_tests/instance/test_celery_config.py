"""What the launcher and the workers reach Redis by."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from celery import Celery
from redis import ConnectionError as RedisConnectionError

from login_pipeline.instance.celery_config import app_arguments
from login_pipeline.local.ports import HOST
from login_pipeline_tests.faults.tls_proxy import RedisTlsProxy
from login_pipeline_tests.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


def connect(url: str) -> None:
    with Celery(**app_arguments(url)).connection() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=False)


def test_redis_is_believed_only_with_a_certificate_that_is_vouched_for(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with RedisTlsProxy(redis.url, authority.issue_cert(HOST)) as proxy:
        url = f"rediss://{HOST}:{proxy.port}/0"
        with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            connect(url)
        connect(f"{url}?ssl_ca_certs={tmp_path / 'authority.pem'}")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        connect(url)
    with (
        RedisTlsProxy(redis.url, authority.issue_cert("redis.example.com")) as proxy,
        pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connect(f"rediss://{HOST}:{proxy.port}/0")


def test_redis_without_tls_is_reached_without(redis: RedisServer) -> None:
    connect(redis.url)
