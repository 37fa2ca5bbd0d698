"""An SQS-speaking server on loopback: ministack. Its messages stay in `folder` between starts.

It writes them when it is stopped, and loses what is on its queues when it is killed itself, as SQS never does.
"""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import boto3

from login_pipeline.errors import ConfigurationError
from login_pipeline.local import supervisor
from login_pipeline.local.ports import HOST, free_port, is_listening, wait_until

REGION = "us-east-1"
START_SECONDS = 60.0
# One process, which at its end waits for no connection that a client keeps open; messages are written all the same.
_AT_ONCE = ("--workers", "0", "--graceful-timeout", "0")


class LocalSqs:
    """One running server."""

    def __init__(self, folder: Path, *, keep_open: tuple[int, ...] = (), services: str = "sqs") -> None:
        if find_spec("ministack") is None:
            raise ConfigurationError(
                "The embedded services are not installed; install the extra `local` of login-pipeline"
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = free_port()
        self.endpoint = f"http://{HOST}:{port}"
        log = folder / "server.log"
        self._supervisor = supervisor.start(
            [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", f"{HOST}:{port}", *_AT_ONCE],
            log=log,
            stop_signal=signal.SIGTERM,
            env=_environment(folder, services),
            keep_open=keep_open,
        )
        possible = lambda: self._supervisor.poll() is None  # noqa: E731
        if not wait_until(lambda: is_listening(port), seconds=START_SECONDS, still_possible=possible):
            self.stop()
            raise ConfigurationError(f"The embedded SQS server does not start; {log} says why")

    def stop(self) -> None:
        """Shuts the server down and waits until it has written its messages."""
        supervisor.stop(self._supervisor)


def sdk_environment(endpoint: str) -> dict[str, str]:
    """What makes the AWS SDK call a server on this machine, which takes any credentials."""
    return {
        "AWS_ENDPOINT_URL_SQS": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def create_queue(endpoint: str, name: str) -> str:
    """Creates the queue on such a server where it does not exist; returns its URL."""
    sdk = sdk_environment(endpoint)
    client = boto3.client(
        "sqs",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=sdk["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=sdk["AWS_SECRET_ACCESS_KEY"],
    )
    return client.create_queue(QueueName=name)["QueueUrl"]


def _environment(folder: Path, services: str) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "GATEWAY_PORT": "4566",  # part of the names under which messages are kept, so it never changes
        "MINISTACK_REGION": REGION,
        "SERVICES": services,
        "IOT_MTLS_ENABLED": "0",  # would listen on every interface
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "LOG_LEVEL": "WARNING",  # no message body is ever logged
    }
