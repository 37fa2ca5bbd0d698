"""The containers of docker-compose.yml, under a project name of their own, seen through Docker and their ports."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from login_pipeline.instance import HOST_TAG
from login_pipeline.local.ports import HOST, free_port, wait_until
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import Database, Queue, client_of

# Of this process: another such test on the same engine keeps its containers.
PROJECT = f"login-cluster-test-{os.getpid()}"
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
STARTED = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { runId tags { key value } } } } }"
# What a killed run held comes back within a test; a drain takes ten runs, so that some are left in its middle.
SETTINGS = {"LOGIN_VISIBILITY_TIMEOUT": "120", "LOGIN_BATCH_SIZE": "2000", "LOGIN_RUN_INTERVAL": "10"}
# Of Dagster: runs, events and schedules. Each has connections of its own.
STORAGES = 3
# A run that has begun so long ago holds messages.
HOLDING_SECONDS = 2.0
SECRETS = (
    "LOGIN_MASKING_KEY",
    "POSTGRES_PASSWORD",
    "POSTGRES_RUN_PASSWORD",
    "POSTGRES_UI_PASSWORD",
    "POSTGRES_MAINTENANCE_PASSWORD",
    "REDIS_PASSWORD",
)


class Deployment:
    """All services, and as many workers as were asked for last."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        endpoint = f"http://{HOST}:{environment['LOCALSTACK_PORT']}"
        client = client_of(endpoint)
        self.queue = Queue(client, f"{endpoint}/000000000000/logins")
        self.dead_letter_queue = Queue(client, f"{endpoint}/000000000000/logins-dead-letter")
        password, port = environment["POSTGRES_PASSWORD"], environment["POSTGRES_PORT"]
        self.database = Database(f"postgresql://login_pipeline:{password}@{HOST}:{port}/logins?connect_timeout=5")

    def compose(self, *arguments: str) -> str:
        return self._run(["docker", "compose", *arguments])

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments])

    def scale(self, workers: int) -> None:
        """Starts workers, or stops some, as `docker compose up --scale` does."""
        self.compose("up", "--detach", "--no-recreate", "--no-build", "--scale", f"worker={workers}", "worker")

    def workers(self) -> list[str]:
        """The ids of the containers that run."""
        return self.compose("ps", "--quiet", "--status", "running", "worker").split()

    def roll(self, image: str) -> tuple[int, str]:
        """The exit code of deploy/roll.py, and its last line."""
        command = [sys.executable, "deploy/roll.py", image]
        done = subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.splitlines()[-1]

    def images(self) -> list[str]:
        """The image of each process that a roll replaces."""
        containers = self.compose("ps", "--quiet", "dagster-daemon", "dagster-webserver", "worker").split()
        return self.docker("inspect", "--format", "{{.Image}}", *containers).split()

    def started_runs(self) -> dict[str, str]:
        """The containers that run them, by the runs' ids; those that have said so."""
        runs = self.graphql(STARTED)["runsOrError"]["results"]
        return {run["runId"]: tag["value"] for run in runs for tag in run["tags"] if tag["key"] == HOST_TAG}

    def busy_worker(self) -> tuple[str, str]:
        """The container of a worker whose run holds messages, and the run's id."""
        until = time.monotonic() + 60
        while not (busy := self.started_runs()):
            assert time.monotonic() < until, "no run has started"
        time.sleep(HOLDING_SECONDS)
        run_id, container = next(iter(busy.items()))  # the newest
        return container, run_id

    def end_of(self, run_id: str, *, seconds: float) -> str:
        """The status with which the run ends in that time."""

        def status() -> str:
            return str(self.graphql(STATUS, id=run_id)["runOrError"]["status"])

        if not wait_until(lambda: status() in {"SUCCESS", "FAILURE", "CANCELED"}, seconds=seconds):
            raise AssertionError(f"the run is {status()} after {seconds:.0f} s")
        return status()

    def container(self, service: str) -> str:
        return self.compose("ps", "--quiet", service).strip()

    def graphql(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        url = f"http://{HOST}:{self._environment['DAGSTER_PORT']}/graphql"
        headers = {"Content-Type": "application/json"}
        # A connection that Dagster's web server keeps to a PostgreSQL that was restarted fails once.
        for _ in range(1 + STORAGES):
            with suppress(HTTPError), urlopen(Request(url, body, headers), timeout=60) as answer:
                return json.loads(answer.read())["data"]
        raise AssertionError("the web server does not answer")

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail", "200")

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout


@contextmanager
def deployment(workers: int, settings: Mapping[str, str] = SETTINGS) -> Iterator[Deployment]:
    """Built, started and prepared; nothing of it is left at the end, its volumes included."""
    ports = {name: str(free_port()) for name in ("DAGSTER_PORT", "POSTGRES_PORT", "LOCALSTACK_PORT")}
    made = {name: secrets.token_hex(32) for name in SECRETS}
    with tempfile.NamedTemporaryFile("w") as no_file:  # instead of a .env of the checkout
        environment = {**os.environ, **ports, **made, **settings}
        environment |= {"COMPOSE_PROJECT_NAME": PROJECT, "COMPOSE_ENV_FILES": no_file.name}
        it = Deployment(environment)
        try:
            it.compose("build", "--quiet")
            it.compose("up", "--detach", "--wait", "--wait-timeout", "600", "--scale", f"worker={workers}")
            yield it
        finally:
            it.compose("down", "--volumes", "--timeout", "60")
