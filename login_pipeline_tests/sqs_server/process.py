"""The tests' SQS-speaking server in a process of its own, for as long as a block lasts.

with QueueServer(latency=0.015, fill=200_000) as server:
    ...  # server.endpoint, server.queue_url, server.counts().logins["received"]
"""

import json
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from login_pipeline.local.ports import HOST
from login_pipeline_tests import ROOT


class Counts(NamedTuple):
    """What the server has served since it started."""

    # By operation, those included that were refused.
    calls: dict[str, int]
    # By queue's name: received, and receives_with_messages; and as it is now: visible, in_flight.
    queues: dict[str, dict[str, int]]
    # Of the server's process, filling included.
    cpu_seconds: float

    @property
    def logins(self) -> dict[str, int]:
        """Of the queue `logins`."""
        return self.queues["logins"]


class QueueServer:
    """A server with the queues `logins`, filled with so many login messages, and `logins-dead-letter`, empty.

    It gives each answer after `latency` seconds, and listens on the address `host`. It ends with the block, and with
    this process however that ends.
    `endpoint`, `queue_url` and `dead_letter_queue_url` are set inside.
    """

    def __init__(self, *, latency: float = 0.0, fill: int = 0, host: str = HOST) -> None:
        self._command = [
            *(sys.executable, "-m", "login_pipeline_tests.sqs_server"),
            *("--latency-ms", str(latency * 1000), "--fill", str(fill), "--host", host),
        ]
        self.endpoint = self.queue_url = self.dead_letter_queue_url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Returns when it listens and is filled."""
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # or a Ctrl-C would end it before the block has ended
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The queue server ended with code {self._process.wait()} before it listened")
        vars(self).update(json.loads(line))
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process and self._process.stdout  # noqa: PT018 - the block was entered
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def counts(self) -> Counts:
        """What it has served so far; asking is not counted."""
        with closing(HTTPConnection(urlsplit(self.endpoint).netloc, timeout=60)) as connection:
            connection.request("GET", "/counts")
            return Counts(**json.loads(connection.getresponse().read()))

    def cpu_seconds(self) -> float:
        """CPU seconds that the server's process has used."""
        return self.counts().cpu_seconds
