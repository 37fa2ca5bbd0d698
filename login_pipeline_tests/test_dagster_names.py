"""What is named of Dagster that is none of its public names."""

import ast
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import yaml

from login_pipeline_tests import ROOT

YAML = ["deploy/dagster.yaml", "login_pipeline/local/dagster.yaml"]


def imported(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    froms = {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    return froms | {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}


def test_only_the_run_launcher_imports_what_dagster_keeps_private() -> None:
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "login_pipeline").rglob("*.py")]
    private = {file: {name for name in imported(file) if "dagster" in name and "._" in name} for file in files}
    assert {file: names for file, names in private.items() if names} == {
        "login_pipeline/instance/run_launcher.py": {
            "dagster._core.launcher.CheckRunHealthResult",
            "dagster._core.launcher.WorkerStatus",
        }
    }


def classes(entry: Any) -> Iterator[tuple[str, str]]:
    if isinstance(entry, dict):
        if {"module", "class"} <= set(entry):
            yield entry["module"], entry["class"]
        for value in entry.values():
            yield from classes(value)


@pytest.mark.parametrize("file", YAML)
def test_class_that_a_dagster_yaml_names_is_there(file: str) -> None:
    named = list(classes(yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))))
    assert named
    assert all(isinstance(getattr(import_module(module), name), type) for module, name in named)
