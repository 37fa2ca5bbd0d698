"""What the launcher of runs and their workers agree on: Celery's settings, and the lease of a run in Redis."""

import ssl
from contextlib import closing
from typing import Any

import redis

from login_pipeline.errors import ConfigurationError

_CONFIG: dict[str, Any] = {
    "accept_content": ["json"],
    # A task is Redis's until its run is over. Dagster ignores one that is delivered again while its run goes on.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_prefetch_multiplier": 1,
    "task_ignore_result": True,
    # A process for each run, forked from one that has imported all that a run needs.
    "worker_max_tasks_per_child": 1,
    "worker_redirect_stdouts": False,
    "worker_enable_remote_control": False,
    # The daemon waits so long for Redis; a worker waits without an end.
    "task_publish_retry_policy": {"max_retries": 10, "interval_start": 0, "interval_step": 1, "interval_max": 5},
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        # Then a task is delivered again whose worker was lost before its run began.
        "visibility_timeout": 300,
        "unacked_restore_throttle": 1,  # else that is looked for each 100 s only
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
}
# How long a lease is valid.
LEASE_SECONDS = 15


def app_arguments(url: str) -> dict[str, Any]:
    """What Celery's app is made with, by the launcher and by the workers alike."""
    config = dict(_CONFIG)
    if url.startswith("rediss:"):
        # Celery verifies nobody, where the URL does not say so. What it does say goes before this.
        config["broker_use_ssl"] = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    # Dagster's database says what became of a run; Celery's own store for it refuses a rediss:// URL without options.
    return {"broker": url, "backend": "disabled://", "config_source": config}


def lease(run_id: str) -> str:
    """The key that a run's process keeps in Redis."""
    return f"login-pipeline:run:{run_id}"


def redis_client(url: str) -> redis.Redis:
    """One that does not wait long for a server that is silent."""
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)


def require_redis(url: str) -> None:
    """Returns when the server responds.

    Raises:
        ConfigurationError: it does not, or refuses the password.
    """
    with closing(redis_client(url)) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise ConfigurationError(
                f"The Redis server in LOGIN_REDIS_URL cannot be used ({type(error).__name__}); check its host, port "
                "and password, and rediss:// for TLS"
            ) from None
