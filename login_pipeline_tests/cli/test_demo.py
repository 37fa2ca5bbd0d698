"""`login-pipeline demo`, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

from login_pipeline.local.services import temporary_folder

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))


def demo(folder: Path, **environment: str) -> str:
    ended = subprocess.run(
        [COMMAND, "demo"],
        env={**os.environ, "LOGIN_LOCAL_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def figures(output: str) -> dict[str, str]:
    """The lines of two words."""
    return dict(words for line in output.splitlines() if len(words := line.split()) == 2)


# A shell that is set to an AWS account, a proxy and another database, on a terminal that is not UTF-8.
ELSEWHERE = {
    "AWS_PROFILE": "mine",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "PGSSLMODE": "require",
    "PYTHONIOENCODING": "latin-1",
}


def test_demo_tells_the_truth_each_time() -> None:
    with temporary_folder() as folder:
        first = demo(folder)
        assert figures(first)["received"] == "100"
        assert figures(first)["loaded"] == "96"
        assert figures(first)["quarantined"] == "4"
        assert "In user_logins: 96 rows. On the dead-letter queue: 4. Left on the queue: 0." in first
        assert first.count("\npassed ") == 4

        second = demo(folder, **ELSEWHERE)
        assert figures(second)["loaded"] == "96"
        assert "In user_logins: 192 rows. On the dead-letter queue: 8. Left on the queue: 0." in second
        assert r"\u2026" in second  # an ellipsis, which Latin-1 does not have
