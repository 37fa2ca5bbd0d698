"""`login-pipeline dev` with a folder for all that it writes, faults that can be armed, and a search of everything."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from login_pipeline.local.ports import wait_until
from login_pipeline.local.postgres import LocalPostgres
from login_pipeline_tests import ROOT
from login_pipeline_tests.alerts.webhook import SECRET, Webhook
from login_pipeline_tests.at_rest import faults, places
from login_pipeline_tests.cli.test_dev import ENDED, LAUNCH, Dev
from login_pipeline_tests.conftest import Database, Queue, client_of

SECONDS = 120.0
_REPOSITORY = {"repositoryLocationName": "login_pipeline.definitions", "repositoryName": "__repository__"}
_SENSOR = """query($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { id } } }
}"""
_STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
_TERMINATE = "mutation($runId: String!) { terminateRun(runId: $runId) { __typename } }"
# How the names of temporary folders begin that other programs of this machine write to.
_OTHERS = ("login-pipeline-", "pytest-", "pip-", "uv-", "bash_", "pymp-")


class Deployment:
    """The services and Dagster, and what is asked of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started = time.time()
        self._webhook = Webhook()
        self._armed = folder / "armed"
        changes = folder / "changes"
        for each in (self._armed, changes, folder / "home", folder / "tmp"):
            each.mkdir()
        (changes / "sitecustomize.py").write_text(faults.SITECUSTOMIZE)
        environment = {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": f"{changes}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            faults.ARMED: str(self._armed),
            "LOGIN_ALERT_URL": self._webhook.url,
        }
        self.dev = Dev(self.folder, **environment)
        settings = self.dev.settings()
        client = client_of(settings["AWS_ENDPOINT_URL_SQS"])
        self.queue = Queue(client, settings["LOGIN_QUEUE_URL"])
        self.dead_letter_queue = Queue(client, settings["LOGIN_DEAD_LETTER_QUEUE_URL"])
        self.database = Database(settings["LOGIN_DATABASE_URL"])
        self._dagster_database = Database(settings["LOGIN_DAGSTER_DATABASE_URL"].replace("+psycopg2", ""))

    def stop(self) -> None:
        """Ends it as Ctrl-C does, if it still runs."""
        if self.dev.processes():
            os.kill(self.dev.pid(), signal.SIGINT)
        assert self.dev.ends(), self.dev.processes()
        self.dev.shell.wait()
        self._webhook.close()

    def stop_sensor(self) -> None:
        """From now on only what is launched here runs."""
        sensor = self.dev.graphql(_SENSOR, selector={**_REPOSITORY, "sensorName": "queue_depth_sensor"})[
            "sensorOrError"
        ]
        self.dev.graphql(_STOP_SENSOR, id=sensor["sensorState"]["id"])

    def drained_by_the_sensor(self) -> bool:
        """Waits until a run of the sensor's has loaded what is on the queue."""
        return _waited(lambda: "SUCCESS" in self._statuses().values() and self.queue.count() == 0)

    def alerted(self) -> bool:
        """Waits for a message of health_sensor's, which looks once a minute."""
        return _waited(lambda: bool(self._webhook.texts))

    def launch(self) -> str:
        """Starts login_job; returns the run's id."""
        parameters = {"selector": {**_REPOSITORY, "pipelineName": "login_job"}, "runConfigData": {}, "mode": "default"}
        launched = self.dev.graphql(LAUNCH, parameters=parameters)["launchPipelineExecution"]
        return str(launched["run"]["runId"])

    def run(self) -> str:
        """Runs login_job to its end; returns its status."""
        return self.ended(self.launch())

    def ended(self, run_id: str) -> str:
        """Waits for the end of a run; returns its status."""
        assert _waited(lambda: self._statuses()[run_id] in ENDED)
        return self._statuses()[run_id]

    def run_with(self, fault: str) -> tuple[str, int]:
        """Starts login_job, which meets the fault, and returns its id and its process when it has met it."""
        (self._armed / fault).touch()
        run_id = self.launch()
        reached = self._armed / f"{fault}.reached"
        assert _waited(reached.exists)
        process = int(reached.read_text())
        reached.unlink()
        return run_id, process

    def terminate(self, run_id: str) -> None:
        """Presses Terminate in the UI."""
        self.dev.graphql(_TERMINATE, runId=run_id)

    def kill_daemon(self) -> None:
        """Kills the daemon; Dagster's dev command then ends, and takes all of it with it."""
        (daemon, *_) = [pid for pid, args in self.dev.processes().items() if "dagster._daemon" in args]
        os.kill(daemon, signal.SIGKILL)
        assert self.dev.ends(), self.dev.processes()
        self.dev.shell.wait()

    def secrets(self) -> dict[str, str]:
        """The secrets in the environment, by name."""
        own = {name: (self.folder / name).read_text() for name in ("masking_key", "postgresql/password")}
        return {**own, "webhook": SECRET}

    def everything(self) -> places.Contents:
        """Every byte of every place where something could be left, but for SQS's own folder."""
        yield from self.files()
        yield from places.files(self._temporary_files())
        for database in (self.database, self._dagster_database):
            yield from places.rows(database.url)

    def everything_after_its_end(self) -> places.Contents:
        """The files, those in the machine's temporary folders, and the rows as PostgreSQL alone says them."""
        postgres = LocalPostgres(self.folder / "postgresql")
        try:
            for name in ("logins", "dagster"):
                yield from places.rows(postgres.url(name))
        finally:
            postgres.stop()
        yield from self.files()
        yield from places.files(self._temporary_files())

    def files(self) -> places.Contents:
        """All that is in the folder, but for SQS's own and PostgreSQL's programs; and what was sent to people."""
        own = [each for each in self.folder.iterdir() if each.name not in ("sqs", "postgresql", "changes")]
        postgresql = self.folder / "postgresql"
        yield from places.files([*own, postgresql / "data", postgresql / "server.log", postgresql / "password"])
        yield from (("alert", text.encode()) for text in self._webhook.texts)

    def sqs(self) -> places.Contents:
        """What the queues keep: the one place where messages may be."""
        yield from places.files([self.folder / "sqs"])

    def checkpoint(self) -> None:
        """Has PostgreSQL write to its files what it has in memory."""
        connection = psycopg2.connect(self.database.url)
        connection.autocommit = True
        connection.cursor().execute("CHECKPOINT")
        connection.close()

    def _statuses(self) -> dict[str, str]:
        """The status of each run, by its id. The database says it at a fraction of what an answer of the UI costs."""
        return dict(self._dagster_database.query("SELECT run_id, status FROM runs"))

    def _temporary_files(self) -> list[Path]:
        """What is new in the machine's temporary folders since the start, and not in our own one."""
        folders = {Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}  # noqa: S108
        entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
        ours = [entry for entry in entries if not entry.name.startswith(_OTHERS)]
        return [entry for entry in ours if not entry.is_symlink() and entry.stat().st_mtime >= self._started]


def _waited(happened: Callable[[], bool]) -> bool:
    return wait_until(happened, seconds=SECONDS, still_possible=lambda: True)
