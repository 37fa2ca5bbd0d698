"""`login-pipeline dev` with a folder for all that it writes, faults that can be armed, and a search of everything."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import psycopg2

from login_pipeline_tests import ROOT
from login_pipeline_tests.at_rest import faults, places
from login_pipeline_tests.at_rest.answers import SENSOR, SENSOR_SELECTOR, answers
from login_pipeline_tests.cli.test_dev import ENDED, LAUNCH, Dev
from login_pipeline_tests.conftest import Database, Queue

SECONDS = 120.0
POLL_SECONDS = 0.5
_STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
_TERMINATE = "mutation($runId: String!) { terminateRun(runId: $runId) { __typename } }"
# How the names of temporary folders begin that other programs of this machine write to.
_OTHERS = ("login-pipeline-", "pytest-", "pip-", "uv-", "bash_", "pymp-")


class Deployment:
    """The services and Dagster, and what is asked of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started = time.time()
        self._armed = folder / "armed"
        changes = folder / "changes"
        for each in (self._armed, changes, folder / "home", folder / "tmp"):
            each.mkdir()
        (changes / "sitecustomize.py").write_text(faults.SITECUSTOMIZE)
        self._environment = {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": f"{changes}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            faults.ARMED: str(self._armed),
        }
        self.start()

    def start(self) -> None:
        """Starts it, again where it was ended."""
        self.dev = Dev(self.folder, **self._environment)
        settings = self.dev.settings()
        client = boto3.client(
            "sqs",
            endpoint_url=settings["AWS_ENDPOINT_URL_SQS"],
            region_name=settings["AWS_REGION"],
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - the emulator asks for none
        )
        self.queue = Queue(client, settings["LOGIN_QUEUE_URL"])
        self.dead_letter_queue = Queue(client, settings["LOGIN_DEAD_LETTER_QUEUE_URL"])
        self.database = Database(settings["LOGIN_DATABASE_URL"])
        self._dagster_database = settings["LOGIN_DAGSTER_DATABASE_URL"].replace("+psycopg2", "")

    def stop(self) -> None:
        """Ends it as Ctrl-C does, if it still runs."""
        if self.dev.processes():
            os.kill(self.dev.pid(), signal.SIGINT)
        assert self.dev.ends(), self.dev.processes()
        self.dev.shell.wait()

    def stop_sensor(self) -> None:
        """From now on only what is launched here runs."""
        sensor = self.dev.graphql(SENSOR, selector=SENSOR_SELECTOR)["sensorOrError"]
        self.dev.graphql(_STOP_SENSOR, id=sensor["sensorState"]["id"])

    def drained_by_the_sensor(self) -> bool:
        """Waits until a run of the sensor's has loaded what is on the queue."""
        return _waited(lambda: "SUCCESS" in self.dev.login_job_runs() and self.queue.count() == 0)

    def launch(self) -> str:
        """Starts login_job; returns the run's id."""
        selector = {name: SENSOR_SELECTOR[name] for name in ("repositoryLocationName", "repositoryName")}
        parameters = {"selector": {**selector, "pipelineName": "login_job"}, "runConfigData": {}, "mode": "default"}
        launched = self.dev.graphql(LAUNCH, parameters=parameters)["launchPipelineExecution"]
        return str(launched["run"]["runId"])

    def run(self) -> str:
        """Runs login_job to its end; returns its status."""
        return self.ended(self.launch())

    def ended(self, run_id: str) -> str:
        """Waits for the end of a run; returns its status."""
        assert _waited(lambda: self.dev.status(run_id) in ENDED)
        return self.dev.status(run_id)

    def run_with(self, fault: str) -> str:
        """Starts login_job, which meets the fault, and returns its id when it has met it."""
        (self._armed / fault).touch()
        run_id = self.launch()
        reached = self._armed / f"{fault}.reached"
        assert _waited(reached.exists)
        reached.unlink()
        return run_id

    def terminate(self, run_id: str) -> None:
        """Presses Terminate in the UI."""
        self.dev.graphql(_TERMINATE, runId=run_id)

    def end_waiting_run(self) -> None:
        """Sends SIGTERM to the process of a run that waits."""
        pid = self._armed / "pid"
        assert _waited(pid.exists)
        os.kill(int(pid.read_text()), signal.SIGTERM)

    def kill_daemon(self) -> None:
        """Kills the daemon; Dagster's dev command then ends, and takes all of it with it."""
        (daemon, *_) = [pid for pid, args in self.dev.processes().items() if "dagster._daemon" in args]
        os.kill(daemon, signal.SIGKILL)
        assert self.dev.ends(), self.dev.processes()
        self.dev.shell.wait()

    def secrets(self) -> dict[str, str]:
        """The secrets in the environment, by name."""
        return {name: (self.folder / name).read_text() for name in ("masking_key", "postgresql/password")}

    def everything(self) -> places.Contents:
        """Every byte of every place where something could be left, but for SQS's own folder."""
        yield from self.files()
        yield from places.files(self._temporary_files())
        for url in (self.database.url, self._dagster_database):
            yield from places.rows(url)
        yield from answers(self.dev)

    def files(self) -> places.Contents:
        """All that is in the folder, but for SQS's own and PostgreSQL's programs."""
        own = [each for each in self.folder.iterdir() if each.name not in ("sqs", "postgresql", "changes")]
        postgresql = self.folder / "postgresql"
        yield from places.files([*own, postgresql / "data", postgresql / "server.log", postgresql / "password"])

    def sqs(self) -> places.Contents:
        """What the queues keep: the one place where messages may be."""
        yield from places.files([self.folder / "sqs"])

    def checkpoint(self) -> None:
        """Has PostgreSQL write to its files what it has in memory."""
        connection = psycopg2.connect(self.database.url)
        connection.autocommit = True
        connection.cursor().execute("CHECKPOINT")
        connection.close()

    def _temporary_files(self) -> list[Path]:
        """What is new in the machine's temporary folders since the start, and not in our own one."""
        folders = {Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}  # noqa: S108
        entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
        ours = [entry for entry in entries if not entry.name.startswith(_OTHERS)]
        return [entry for entry in ours if not entry.is_symlink() and entry.stat().st_mtime >= self._started]


def _waited(happened: Callable[[], bool]) -> bool:
    """Waits for it, and asks seldom: each answer of the UI's costs as much as a search of a megabyte."""
    until = time.monotonic() + SECONDS
    while not (there := happened()) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return there
