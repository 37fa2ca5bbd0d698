"""The documents agree with the code."""

import re
from pathlib import Path

import click
import pytest

from login_pipeline.cli.main import cli
from login_pipeline.postgres.errors import FEATURES
from login_pipeline.settings import SETTING_NAMES, SettingName, Settings, variable
from login_pipeline_tests import ROOT
from login_pipeline_tests.reference import FILE, default, reference

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_reference_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run: make reference"


@pytest.mark.parametrize("name", SETTING_NAMES)
def test_setting_is_in_the_example_environment_with_its_default_and_its_description(name: SettingName) -> None:
    before, found, _ = (ROOT / ".env.example").read_text("utf-8").partition(f"\n{variable(name)}={default(name)}\n")
    assert found
    comment = before.rpartition("=")[2].replace("\n# ", " ")
    assert str(Settings.model_fields[name].description) in comment


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert isinstance(cli, click.Group)
    assert set(re.findall(r"(?:^\$ |`)login-pipeline ([a-z]+)", text, re.MULTILINE)) <= set(cli.commands)


@pytest.mark.parametrize("feature", FEATURES)
def test_document_on_databases_has_each_feature_that_an_error_names(feature: str) -> None:
    assert f"`{feature}" in (ROOT / "docs" / "databases.md").read_text(encoding="utf-8").replace("CREATE ", "")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_document_is_finished_and_names_tests_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert "@@" not in text
    tests = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", text))
    assert [name for name in tests if not (ROOT / "login_pipeline_tests" / name).is_file()] == []
