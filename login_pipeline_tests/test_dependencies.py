"""What the code imports is declared, and has its reason in CONTRIBUTING.md."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from login_pipeline_tests import ROOT

OURS = {"login_pipeline", "login_pipeline_tests", "benchmarks"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(distribution: str) -> str:
    return re.sub("[-_.]+", "-", distribution).lower()


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\s\[<>=!;]", requirement, maxsplit=1)[0]) for requirement in requirements}


def imported(folder: str) -> set[str]:
    """The top-level modules of others that a folder's code imports, wherever in a file."""
    found: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - OURS - sys.stdlib_module_names


def declared(*extras: str) -> set[str]:
    return names(PROJECT["dependencies"]).union(*(names(PROJECT["optional-dependencies"][extra]) for extra in extras))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("login_pipeline", ("cluster", "local", "metrics")),
        ("login_pipeline_tests", ("cluster", "local", "metrics", "dev")),
        ("benchmarks", ("local", "dev")),
        ("deploy", ("local", "dev")),
    ],
)
def test_what_is_imported_is_declared(folder: str, extras: tuple[str, ...]) -> None:
    distributions = packages_distributions()
    undeclared = {
        module
        for module in imported(folder) - {"mypy_boto3_sqs"}  # types only, by boto3-stubs[sqs]
        if not declared(*extras) & {normal(each) for each in distributions.get(module, [])}
    }
    assert undeclared == set()


def test_every_dependency_has_its_reason() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Dependencies, and why")[2]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| ")][1:]
    explained = set(re.findall(r"[\w-]+", " ".join(packages.lower() for packages, reason in rows if reason.strip())))
    stubs = {each for each in declared("dev") if each.startswith("types-") or each.endswith("-stubs")}
    assert declared(*PROJECT["optional-dependencies"]) - stubs - explained == set()
