"""The benchmarks' SQS-speaking server in a process of its own, for as long as a block lasts.

with QueueServer(latency=0.015, fill=200_000) as server:
    ...  # server.endpoint, server.queue_url, server.counts().received
"""

import json
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from login_pipeline_tests import ROOT


class Counts(NamedTuple):
    """What the server has served since it started."""

    # By operation, those included that were refused.
    calls: dict[str, int]
    # By SQS's error code.
    refused: dict[str, int]
    # By queue's name: sent, receives_with_messages, received, redelivered (of those received: not for the first time),
    # deleted, moved_away by the redrive policy; and as it is now: visible, in_flight, delayed.
    queues: dict[str, dict[str, int]]
    # Of the server's process, filling included.
    cpu_seconds: float

    @property
    def logins(self) -> dict[str, int]:
        """Of the queue `logins`."""
        return self.queues["logins"]


class QueueServer:
    """A server with the queues `logins`, filled with so many login messages, and `logins-dead-letter`, empty.

    It ends with the block, and with this process however that ends. `endpoint`, `queue_url` and `dead_letter_queue_url`
    are set inside.
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        fill: int = 0,
        seed: int = 1,
        port: int = 0,
        max_in_flight: int | None = None,
    ) -> None:
        """`latency`: seconds after which each answer is given; `fill`: messages, which are equal for equal seeds."""
        self._command = [
            *(sys.executable, "-m", "login_pipeline_tests.sqs_server", "--port", str(port), "--seed", str(seed)),
            *("--latency-ms", str(latency * 1000), "--fill", str(fill)),
            *(() if max_in_flight is None else ("--max-in-flight", str(max_in_flight))),
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
        said = json.loads(line)
        self.endpoint, self.queue_url = said["endpoint"], said["queue_url"]
        self.dead_letter_queue_url = said["dead_letter_queue_url"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process and self._process.stdout  # noqa: PT018 - the block was entered
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def counts(self) -> Counts:
        """What it has served so far; asking is not counted."""
        address = urlsplit(self.endpoint)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request("GET", "/counts")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return Counts(**told)

    def cpu_seconds(self) -> float:
        """CPU seconds that the server's process has used."""
        return self.counts().cpu_seconds
