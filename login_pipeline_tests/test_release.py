"""A release: its tag, version, changelog and manifests agree, and its workflow runs no action that can change."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from login_pipeline_tests import ROOT
from login_pipeline_tests.release import release_notes

CHANGELOG = """# Changelog

## [Unreleased]

- Not yet.

## [1.10.0] - 2026-12-01

### Added

- A thing.

## [1.1.0] - 2026-11-01

- An older thing.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.10.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return tmp_path


def test_notes_are_what_the_changelog_has_below_the_versions_heading(checkout: Path) -> None:
    assert release_notes("v1.10.0", checkout) == "### Added\n\n- A thing.\n"


@pytest.mark.parametrize("tag", ["v1.1.0", "1.10.0", "v1.10.0-rc1"])
def test_a_tag_that_is_not_the_version_is_refused(checkout: Path, tag: str) -> None:
    with pytest.raises(ValueError, match=rf"The tag is {tag}, .*: it must be v1\.10\.0"):
        release_notes(tag, checkout)


@pytest.mark.parametrize(
    "entry", ["## [1.10.0]\n\n- Without a date.\n", "## [1.10.0] - 2026-12-01\n\n## [1.1.0]\n", ""]
)
def test_a_version_without_an_entry_in_the_changelog_is_refused(checkout: Path, entry: str) -> None:
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n{entry}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no entry .* ## \[1\.10\.0\] - YYYY-MM-DD"):
        release_notes("v1.10.0", checkout)


def test_manifests_name_the_version_that_is_released() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    manifests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"))
    assert set(re.findall(r"YOUR-REGISTRY/login-pipeline(?::|\n +tag: )(\S+)", manifests)) == {version}


@pytest.mark.parametrize("workflow", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.name)
def test_a_workflow_runs_actions_by_their_commit(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (?!\./)(.+)", text)
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)] == []
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
