"""What CHANGELOG.md says of a release, once its tag, version and heading agree: `make release-notes TAG=v1.2.3`.

It needs no package, so that the release's workflow asks before anything is installed.
"""

import re
import sys
import tomllib
from pathlib import Path

from login_pipeline_tests import ROOT


def release_notes(tag: str, checkout: Path = ROOT) -> str:
    """The part of CHANGELOG.md below the heading of that version.

    Raises:
        ValueError: the tag is not the version in pyproject.toml, or CHANGELOG.md has no dated heading of it, or nothing
            below.
    """
    version = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, and the version in pyproject.toml is {version}: it must be v{version}")
    changelog = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise ValueError(
            f"CHANGELOG.md has no entry of this release: write what it brings below ## [{version}] - YYYY-MM-DD"
        )
    return f"{found[1].strip()}\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make release-notes TAG=v1.2.3")
    try:
        sys.stdout.write(release_notes(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
