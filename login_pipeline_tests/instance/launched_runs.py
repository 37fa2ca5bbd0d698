"""Runs as Dagster's daemon launches them, on an instance that one of our dagster.yaml files configures."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from multiprocessing import forkserver
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext

from login_pipeline.definitions import defs
from login_pipeline.instance.run_launcher import DEFINITIONS
from login_pipeline.local.ports import wait_until
from login_pipeline_tests.conftest import Pipeline


@contextmanager
def dagster_instance(pipeline: Pipeline, folder: Path) -> Iterator[dg.DagsterInstance]:
    """As `login-pipeline dev` configures it, with its records beside the logins."""
    (folder / "dagster.yaml").write_text(files("login_pipeline.local").joinpath("dagster.yaml").read_text())
    storage = pipeline.database.url.replace("postgresql://", "postgresql+psycopg2://")
    pipeline.set(LOGIN_DAGSTER_DATABASE_URL=storage, DAGSTER_HOME=str(folder))
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # one of an earlier test has another environment
    with dg.DagsterInstance.get() as instance:
        yield instance
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def launch(instance: dg.DagsterInstance, module: str = DEFINITIONS, tags: Mapping[str, str] | None = None) -> str:
    """Starts a run of login_job as the daemon does; its id."""
    origin = ReconstructableRepository.for_module(module, "defs").get_reconstructable_job("login_job")
    run = instance.create_run_for_job(
        defs.resolve_job_def("login_job"),
        job_code_origin=origin.get_python_origin(),
        status=dg.DagsterRunStatus.STARTING,
        tags=tags,
    )
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run.run_id


def soon(holds: Callable[[], bool]) -> bool:
    return wait_until(holds, seconds=60, still_possible=lambda: True)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus | None:
    run = instance.get_run_by_id(run_id)
    return run.status if run else None


def ends(instance: dg.DagsterInstance, run_id: str, as_: dg.DagsterRunStatus) -> bool:
    return soon(lambda: status(instance, run_id) is as_)


def processes(instance: dg.DagsterInstance, run_id: str) -> set[int]:
    """The ids that its processes logged when they started."""
    messages = [event.message or "" for event in instance.all_logs(run_id)]
    started = [message for message in messages if message.startswith("Started process for run")]
    return {int("".join(filter(str.isdigit, message))) for message in started}
