"""`login-pipeline dev`: the real webserver, daemon and sensor, used through their API, and how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from login_pipeline.defs.checks import user_logins_table_checks
from login_pipeline.local.ports import free_port, is_listening, wait_until
from login_pipeline.local.services import temporary_folder
from login_pipeline_tests.conftest import Command

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))
SECONDS = 120.0

pytestmark = pytest.mark.timeout(400)


class Dev:
    """A running `login-pipeline dev`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.output = folder / "output"
        with self.output.open("ab") as output:
            # A shell between us, so that its end can be distinguished from the end of the command.
            self.shell = subprocess.Popen(
                ["/bin/sh", "-c", f"{COMMAND} dev --port {self.port}; true"],
                stdout=output,
                stderr=output,
                env={**os.environ, "LOGIN_LOCAL_DIR": str(folder), **environment},
                start_new_session=True,
            )
        started = wait_until(self.is_up, seconds=SECONDS, still_possible=lambda: self.shell.poll() is None)
        assert started, self.output.read_text()

    def is_up(self) -> bool:
        return f"http://127.0.0.1:{self.port} " in self.output.read_text()

    def processes(self) -> dict[int, str]:
        """Command lines of all that belongs to it, by process: what names its folder or port, and its children."""
        ps = ["/bin/ps", "-ww", "-eo", "pid=,ppid=,args="]
        table = [row.split(None, 2) for row in subprocess.check_output(ps, text=True).splitlines()]
        ours = {pid for pid, _, args in table if str(self.folder) in args or f"port {self.port}" in args}
        for _ in range(8):  # generations
            ours |= {pid for pid, parent, _ in table if parent in ours}
        return {int(pid): args for pid, _, args in table if pid in ours and int(pid) != self.shell.pid}

    def pid(self) -> int:
        """The process of the command itself."""
        return next(
            pid for pid, args in self.processes().items() if args.endswith(f"login-pipeline dev --port {self.port}")
        )

    def ends(self) -> bool:
        return wait_until(lambda: not self.processes(), seconds=SECONDS)

    def settings(self) -> dict[str, str]:
        shell = f". {self.folder}/env && env -0"
        output = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True).stdout
        return dict(line.split("=", 1) for line in output.split("\0") if "=" in line)

    def login_pipeline(self, *arguments: str) -> str:
        environment = {**os.environ, **self.settings()}
        return subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True, check=True).stdout

    def graphql(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server on loopback
            result = json.loads(answer.read())
        assert "errors" not in result, result["errors"]
        return result["data"]

    def materialize(self, *assets: str) -> str:
        """Presses Materialize on these assets; returns the run's id."""
        selector = {
            "repositoryLocationName": "login_pipeline.definitions",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
        }
        parameters = {"selector": selector, "runConfigData": {}, "mode": "default"}
        launched = self.graphql(LAUNCH, parameters=parameters)["launchPipelineExecution"]
        assert "run" in launched, launched
        return str(launched["run"]["runId"])

    def outcome(self, run_id: str) -> tuple[str, list[str]]:
        """Waits for the run's end; returns its status and what its failed steps say."""
        assert wait_until(lambda: self.status(run_id) in ENDED, seconds=SECONDS)
        events = self.graphql(EVENTS, runId=run_id)["logsForRun"]["events"]
        return self.status(run_id), [event["failureMetadata"]["description"] for event in events if event.get("error")]

    def status(self, run_id: str) -> str:
        return str(self.graphql(STATUS, runId=run_id)["runOrError"]["status"])

    def login_job_runs(self) -> list[str]:
        query = 'query { runsOrError(filter: {pipelineName: "login_job"}) { ... on Runs { results { status } } } }'
        return [run["status"] for run in self.graphql(query)["runsOrError"]["results"]]


ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
LAUNCH = """
mutation($parameters: ExecutionParams!) {
  launchPipelineExecution(executionParams: $parameters) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}"""
STATUS = "query($runId: ID!) { runOrError(runId: $runId) { ... on Run { status } } }"
# Those of the batch need what is in the memory of a run.
CHECKS = "{ assetNodes { assetChecksOrError { ... on AssetChecks { checks { name canExecuteIndividually } } } } }"
EVENTS = """
query($runId: ID!) {
  logsForRun(runId: $runId) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { error { className } failureMetadata { description } }
  } } }
}"""


@contextmanager
def running() -> Iterator[Dev]:
    """Killed at the end, where it still runs."""
    with temporary_folder() as folder:
        dev = Dev(folder)
        try:
            yield dev
        finally:
            with suppress(ProcessLookupError):
                os.killpg(dev.shell.pid, signal.SIGKILL)
            dev.shell.wait()
            assert dev.ends(), dev.processes()


def test_person_at_the_ui_can_materialize_the_sensor_drains_and_nothing_is_left_after_ctrl_c() -> None:
    with running() as dev:
        everything = ("raw_sqs_messages", "masked_logins", "quarantined_logins", "user_logins_table")
        assert dev.outcome(dev.materialize(*everything)) == ("SUCCESS", [])

        (status, (sentence,)) = dev.outcome(dev.materialize("masked_logins"))
        assert status == "FAILURE"
        assert sentence.endswith("launch login_job, or materialize all the assets together")

        nodes = dev.graphql(CHECKS)["assetNodes"]
        checks = [check for node in nodes for check in node["assetChecksOrError"].get("checks", [])]
        executable = {check["name"] for check in checks if check["canExecuteIndividually"] == "CAN_EXECUTE"}
        assert executable == {spec.name for spec in user_logins_table_checks().check_specs}

        dev.login_pipeline("send", "--sample", "100")
        drained = wait_until(lambda: "SUCCESS" in dev.login_job_runs(), seconds=SECONDS)
        assert drained, dev.output.read_text()
        checks = json.loads(dev.login_pipeline("check", "--json"))
        assert checks["passed"]
        assert checks["checks"][1]["metadata"]["rows"] == 96

        urls = [dev.settings()[name] for name in ("AWS_ENDPOINT_URL_SQS", "LOGIN_DATABASE_URL")]
        os.killpg(dev.shell.pid, signal.SIGINT)
        assert wait_until(lambda: not is_listening(dev.port), seconds=SECONDS)
        os.killpg(dev.shell.pid, signal.SIGINT)  # of somebody impatient, while the rest of it stops
        assert dev.ends(), dev.processes()
        assert [url for url in urls if is_listening(urlsplit(url).port or 0)] == []
        assert dev.output.read_text().endswith("\nStopped; the data stays for the next time.\n")
        assert not (dev.folder / "env").exists()  # it has the masking key and the password


# The command without its services, and with a server in Dagster's place that is up at once.
BARE = """
import sys
from contextlib import contextmanager, nullcontext
from signal import SIGINT
from login_pipeline.cli import dev, main
from login_pipeline.local import supervisor

@contextmanager
def started(_settings, _services, port):
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = supervisor.start(command, log=None, stop_signal=SIGINT, env={})
    try:
        yield server
    finally:
        supervisor.stop(server)

dev.local_services, dev._dagster = lambda: nullcontext({}), started
main.main()
"""


@pytest.mark.parametrize("victim", ["the command", "its parent"])
def test_everything_ends_at_ctrl_c_and_with_the_parent(tmp_path: Path, victim: str) -> None:
    port, output = free_port(), tmp_path / "output"
    command = [sys.executable, "-c", BARE, "dev", "--port", str(port)]
    with output.open("wb") as file:
        shell = ["/bin/sh", "-c", '"$@"; true', "sh", *command]
        parent = subprocess.Popen(shell, stdout=file, start_new_session=True)
    assert wait_until(lambda: "Ctrl-C stops everything" in output.read_text(), seconds=SECONDS)
    if victim == "the command":
        os.killpg(parent.pid, signal.SIGINT)
        stopped = "\nStopped; the data stays for the next time.\n"
        assert wait_until(lambda: output.read_text().endswith(stopped), seconds=SECONDS)
    parent.kill()
    parent.wait()
    try:
        assert wait_until(lambda: not is_listening(port), seconds=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_port_that_is_taken_is_one_sentence(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = command("dev", "--port", str(port))
    sentence = f"Port {port} on 127.0.0.1 is in use; name another: login-pipeline dev --port {port + 1}\n"
    assert ended == (2, "", sentence)
