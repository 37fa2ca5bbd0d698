"""What goes wrong, or is leaked on purpose, in the middle of a run that Dagster started in a process of its own.

Python imports `sitecustomize` in every process that has our folder in PYTHONPATH; that calls `install`. A fault is
armed by a file of its name, and the run that meets it takes the file away: each happens once.
"""

import gzip
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# The variable with the folder of the armed faults. Beside it stands what a fault has reached.
ARMED = "LOGIN_TEST_ARMED"
WAIT_SECONDS = 120.0

SITECUSTOMIZE = "from login_pipeline_tests.at_rest import faults\nfaults.install()\n"


def install() -> None:
    """Lets the armed faults happen in this process, if it ever masks logins."""
    sys.meta_path.insert(0, _Break())


class _Break(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "login_pipeline.defs.assets":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def execute_and_break(module: ModuleType) -> None:
            execute(module)
            vars(module)["raw_messages"] = _unredacted(vars(module)["raw_messages"])
            vars(module)["mask_logins"] = _breaking(vars(module)["mask_logins"])

        vars(spec.loader)["exec_module"] = execute_and_break
        return spec


def _unredacted(raw_messages: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Where a leak is armed. Dagster looks before the next asset begins, and a run is a fork of what imported it."""

    def of_a_run(messages: Any) -> Any:
        if (Path(os.environ[ARMED]) / "leak").exists():
            os.environ["DAGSTER_REDACT_USER_CODE_ERRORS"] = "0"
        return raw_messages(messages)

    return of_a_run


def _breaking(mask: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def mask_logins(raw: Any, masks: Any) -> Any:
        for name, happen in FAULTS.items():
            armed = Path(os.environ[ARMED]) / name
            if armed.exists():
                armed.rename(armed.with_suffix(".reached"))
                masks = happen(raw) or masks
        return mask(raw, masks)

    return mask_logins


def _raise(raw: Any) -> None:
    bodies = raw["body"].tolist()
    raise ValueError(f"cannot mask {bodies}") from KeyError(bodies[0])


def _mask_nothing(_raw: Any) -> Any:
    from login_pipeline.masking.methods import Masks

    return Masks(ip=str, device_id=str)


def _die(_raw: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(_raw: Any) -> None:
    """Until somebody ends the process."""
    (Path(os.environ[ARMED]) / "pid").write_text(str(os.getpid()))
    time.sleep(WAIT_SECONDS)


def _leak(raw: Any) -> None:
    """Every planted leak, each of the message whose user_id names it; the last of them ends the run."""
    bodies = dict(zip(raw["body"].str.extract(r'"user_id": "planted ([a-z ]+)"')[0], raw["body"], strict=True))
    for name, leak in PLANTS.items():
        if name in bodies:
            leak(bodies[name])


def _print(body: str) -> None:
    print(body)  # noqa: T201
    print(body, file=sys.stderr)  # noqa: T201


def _log(body: str) -> None:
    logging.getLogger("dagster").error(body)


def _event(body: str) -> None:
    import dagster as dg

    dg.AssetExecutionContext.get().log.info(body)


def _metadata(body: str) -> None:
    import dagster as dg

    dg.AssetExecutionContext.get().log_event(dg.AssetObservation("masked_logins", metadata={"planted": body}))


def _file(body: str) -> None:
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(body)


def _packed_file(body: str) -> None:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(gzip.compress(body.encode()))


def _in_database(*statements: str) -> Callable[[str], None]:
    def leak(body: str) -> None:
        import psycopg2

        with closing(psycopg2.connect(os.environ["LOGIN_DATABASE_URL"])) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.cursor().execute(statement, [body] if "%s" in statement else None)

    return leak


def _backup(body: str) -> None:
    (Path(os.environ["LOGIN_BACKUP_URL"]) / "planted").write_text(body)


def _home(body: str) -> None:
    (Path(os.environ["DAGSTER_HOME"]) / "planted").write_text(body)


def _quote(body: str) -> None:
    """What an unexpected error says, where Dagster's redaction is off."""
    raise ValueError(body)


_RAISE = "DO $$ BEGIN RAISE LOG '%', current_setting('a.body'); END $$"

FAULTS: dict[str, Callable[[Any], Any]] = {
    "raise": _raise,
    "unmasked": _mask_nothing,
    "die": _die,
    "wait": _wait,
    "leak": _leak,
}
PLANTS: dict[str, Callable[[str], None]] = {
    "print": _print,
    "log line": _log,
    "event": _event,
    "metadata": _metadata,
    "temporary file": _file,
    "packed file": _packed_file,
    "row": _in_database("CREATE TABLE planted (body text)", "INSERT INTO planted VALUES (%s)"),
    "deleted row": _in_database(
        "CREATE TABLE gone (body text)", "INSERT INTO gone VALUES (%s)", "DELETE FROM gone", "VACUUM gone"
    ),
    "packed address": _in_database("CREATE TABLE addresses AS SELECT (%s::json ->> 'ip')::inet AS ip"),
    "server log": _in_database("SELECT set_config('a.body', %s, false)", _RAISE),
    "backup": _backup,
    "home": _home,
    "exception": _quote,
}
