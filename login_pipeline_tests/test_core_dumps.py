"""No process of the pipeline leaves a core dump, which would have bodies and keys in clear."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from login_pipeline import core_dumps

SHOW = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"


def as_much_as_may_be() -> None:
    """Before the child's own code: as on a host where somebody has turned core dumps on."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def limit(*command: str) -> str:
    shown = subprocess.run(
        [sys.executable, *command],
        preexec_fn=as_much_as_may_be,
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip()


def test_process_that_imports_anything_of_ours_dumps_no_core() -> None:
    """A command, the code server, the daemon, the web server, the worker with its runs: all import the package."""
    assert limit("-c", SHOW) != "0"
    assert limit("-c", f"import login_pipeline; {SHOW}") == "0"


@pytest.mark.parametrize(
    ("pattern", "taker"),
    [
        ("core", None),
        ("/var/crash/%e.%p", None),
        ("|/usr/lib/systemd/systemd-coredump %P %u", None),
        ("|/usr/share/apport/apport -p%p", None),
        ("|/bin/keep-core %p", "/bin/keep-core"),
    ],
)
def test_program_that_takes_dumps_at_any_limit_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, taker: str | None
) -> None:
    (tmp_path / "core_pattern").write_text(pattern + "\n", encoding="utf-8")
    monkeypatch.setattr(core_dumps, "_PATTERN", tmp_path / "core_pattern")
    assert core_dumps.dump_taker() == taker
