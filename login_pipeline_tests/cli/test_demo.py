"""`login-pipeline demo`, as a person runs it."""

import os
import subprocess
import sys
from pathlib import Path

from login_pipeline.local.services import temporary_folder

COMMAND = str(Path(sys.executable).with_name("login-pipeline"))
# A shell that is set to an AWS account, a proxy and another database, on a terminal that is not UTF-8.
ELSEWHERE = {
    "AWS_PROFILE": "mine",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "PGSSLMODE": "require",
    "PYTHONIOENCODING": "latin-1",
}


def test_demo_says_what_it_did_and_where_everything_is() -> None:
    with temporary_folder() as folder:
        environment = {**os.environ, "LOGIN_LOCAL_DIR": str(folder), **ELSEWHERE}
        ended = subprocess.run([COMMAND, "demo"], env=environment, capture_output=True, text=True, check=False)
        # So a second demo adds to this one, under the same masks.
        assert (folder / "postgresql" / "data").is_dir()
        assert (folder / "masking_key").is_file()
    assert ended.returncode == 0, ended.stderr
    figures = dict(words for line in ended.stdout.splitlines() if len(words := line.split()) == 2)
    assert [figures[name] for name in ("received", "loaded", "quarantined")] == ["100", "96", "4"]
    assert "In user_logins: 96 rows. On the dead-letter queue: 4. Left on the queue: 0." in ended.stdout
    assert ended.stdout.count("\npassed ") == 7
    assert r"\u2026" in ended.stdout  # an ellipsis, which Latin-1 does not have
