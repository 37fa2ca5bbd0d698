"""The documents agree with the code."""

import re
from pathlib import Path

import click
import pytest

from login_pipeline.cli.main import cli
from login_pipeline.settings import Settings, variable
from login_pipeline_tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def default(name: str) -> str:
    value = Settings.model_fields[name].default
    return "" if value is None else str(value).lower()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_in_the_readme_s_table_with_its_default_and_description(name: str) -> None:
    shown = f"`{default(name)}`" if default(name) else ""
    row = f"| `{variable(name)}` | {shown} | {Settings.model_fields[name].description} |"
    assert row.replace("|  |", "| |") in README


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_in_the_example_environment_with_its_default(name: str) -> None:
    assert f"\n{variable(name)}={default(name)}\n" in (ROOT / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert isinstance(cli, click.Group)
    assert set(re.findall(r"(?:^\$ |`)login-pipeline ([a-z]+)", text, re.MULTILINE)) <= set(cli.commands)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_command_is_in_the_readme() -> None:
    assert isinstance(cli, click.Group)
    for name in cli.commands:
        assert re.search(rf"`(login-pipeline )?{name}\b", README), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_document_is_finished_and_names_tests_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert "@@" not in text
    tests = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", text))
    assert [name for name in tests if not (ROOT / "login_pipeline_tests" / name).is_file()] == []
