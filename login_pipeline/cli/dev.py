"""Runs the embedded services under the Dagster UI, until Ctrl-C or until the process that started it is gone."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from login_pipeline.errors import ConfigurationError
from login_pipeline.local import supervisor
from login_pipeline.local.ports import HOST, is_listening, wait_until
from login_pipeline.local.services import environment_file, local_folder, local_services, pipeline_environment
from login_pipeline.settings import LogFormat, Settings, variable
from login_pipeline.signals import ignore_signals, raise_at_signals

START_SECONDS = 120.0
_ENVIRONMENT = {
    variable("sensor_enabled"): "true",
    variable("run_interval"): "1",  # a person waits for what was sent
    "PYTHONWARNINGS": "ignore:Function `dev_command`",  # `dg dev` asks for a project folder, which need not be here
}


def dev(settings: Settings, port: int) -> int:
    """Serves until a signal stops it; 0 then, 1 when Dagster ended on its own.

    Raises:
        ConfigurationError: the port is taken, or something does not start.
    """
    if is_listening(port):
        raise ConfigurationError(f"Port {port} on {HOST} is in use; name another: login-pipeline dev --port {port + 1}")
    raise_at_signals({signal.SIGHUP})  # its terminal was closed
    parent = os.getppid()
    with suppress(KeyboardInterrupt), local_services() as services, _dagster(settings, services, port) as dagster:
        possible = lambda: dagster.poll() is None  # noqa: E731
        if not wait_until(lambda: is_listening(port), seconds=START_SECONDS, still_possible=possible):
            return 1
        _announce(port)
        while dagster.poll() is None and os.getppid() == parent:
            time.sleep(0.5)
        return 1 if dagster.poll() is not None else 0
    click.echo("\nStopped; the data stays for the next time.")
    return 0


@contextmanager
def _dagster(settings: Settings, services: dict[str, str], port: int) -> Iterator[supervisor.Supervisor]:
    """`dagster dev`, which starts the webserver, the daemon and the code server; stopped at the end."""
    environment = environment_file(local_folder(), services)
    command = ["-m", "dagster", "dev", "--host", HOST, "--port", str(port), "--log-level", "warning"]
    if settings.log_format is LogFormat.JSON:
        command += ["--log-format", "json"]
    dagster = supervisor.start(
        [sys.executable, *command, "--module-name", "login_pipeline.definitions"],
        log=None,  # the terminal: what Dagster prints about an error is not for the disk
        stop_signal=signal.SIGINT,
        env=pipeline_environment({**_ENVIRONMENT, **services}),
    )
    try:
        yield dagster
    finally:
        ignore_signals()  # stopping takes seconds, and is not to be stopped
        supervisor.stop(dagster)
        environment.unlink(missing_ok=True)


def _announce(port: int) -> None:
    command = Path(sys.executable).with_name("login-pipeline")
    click.echo(f"Dagster UI        http://{HOST}:{port}   (Ctrl-C stops everything)")
    click.echo(f"another terminal  . {local_folder()}/env && {command} send --sample 100")
    click.echo("                  queue_depth_sensor sees the messages within 5 s and starts login_job")
