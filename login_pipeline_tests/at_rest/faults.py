"""What goes wrong, or is leaked on purpose, in the middle of a run that Dagster started in a process of its own.

Python imports `sitecustomize` in every process that has our folder in PYTHONPATH; in that of a run it
calls `install`. A fault is armed by a file of its name, and the run that meets it takes the file away: each
happens once.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq

from login_pipeline.logins import transform
from login_pipeline.masking.methods import Masks

# The variable with the folder of the armed faults. A fault that has been reached leaves the process there.
ARMED = "LOGIN_TEST_ARMED"
WAIT_SECONDS = 120.0

SITECUSTOMIZE = """
import sys

if any("multiprocessing.spawn" in argument for argument in sys.orig_argv):
    from login_pipeline_tests.at_rest import faults

    faults.install()
"""


def install() -> None:
    """Lets the armed faults happen in this process, which has not imported the assets yet."""
    mask_logins, raw_messages = transform.mask_logins, transform.raw_messages

    def mask_or_break(raw: Any, masks: Any) -> Any:
        for name, happen in FAULTS.items():
            armed = Path(os.environ[ARMED]) / name
            if armed.exists():
                armed.write_text(str(os.getpid()))
                armed.rename(armed.with_suffix(".reached"))
                masks = happen(raw) or masks
        return mask_logins(raw, masks)

    def unredacted(messages: Any) -> Any:
        """Where a leak is armed. Dagster looks before the next asset begins."""
        if (Path(os.environ[ARMED]) / "leak").exists():
            os.environ["DAGSTER_REDACT_USER_CODE_ERRORS"] = "0"
        return raw_messages(messages)

    patch.object(transform, "mask_logins", mask_or_break).start()
    patch.object(transform, "raw_messages", unredacted).start()


def _raise(raw: Any) -> None:
    bodies = raw["body"].tolist()
    raise ValueError(f"cannot mask {bodies}") from KeyError(bodies[0])


def _mask_nothing(_raw: Any) -> Any:
    return Masks(ip=str, device_id=str)


def _die(_raw: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wait(_raw: Any) -> None:
    """Until somebody ends the process."""
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


def _event(body: str) -> None:
    dg.AssetExecutionContext.get().log.info(body)


def _file(body: str) -> None:
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(body)


def _in_database(*statements: str) -> Callable[[str], None]:
    def leak(body: str) -> None:
        with closing(psycopg2.connect(os.environ["LOGIN_DATABASE_URL"])) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.cursor().execute(statement, [body] if "%s" in statement else None)

    return leak


def _backup(body: str) -> None:
    """Packed as a backup's files are; statistics would have it in clear beside that."""
    file = Path(os.environ["LOGIN_BACKUP_URL"]) / "planted.parquet"
    pq.write_table(pa.table({"body": [body]}), file, compression="zstd", write_statistics=False)


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
    "event": _event,
    "temporary file": _file,
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
