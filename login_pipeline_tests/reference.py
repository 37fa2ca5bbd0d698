"""The commands and the settings, written from the code: `make reference` puts them into docs/reference.md."""

from collections.abc import Iterator

import click

from login_pipeline.cli.main import cli
from login_pipeline.settings import SETTING_NAMES, SettingName, Settings, variable
from login_pipeline_tests import ROOT

FILE = ROOT / "docs" / "reference.md"
HEAD = """# Reference

Written from the code by `make reference`.

## Settings

All settings are environment variables; [.env.example](../.env.example) lists them, too. Times are in seconds, sizes in
messages. The AWS SDK reads its own variables: credentials, roles, `AWS_PROFILE`, `AWS_ENDPOINT_URL_SQS` and others.

| variable | default | description |
|---|---|---|
"""
EXIT_CODES = """
## Commands

Exit codes: 0 done; 1 a run or a check failed; 2 the configuration is wrong; 130 interrupted. With `--json`, stdout is
exactly one JSON object. With `DAGSTER_HOME` set, runs are recorded in that Dagster instance.
"""


def default(name: SettingName) -> str:
    """As it is written in the environment; empty where there is none."""
    value = Settings.model_fields[name].default
    return "" if value is None else str(value).lower()


def reference() -> str:
    """The whole document."""
    assert isinstance(cli, click.Group)
    settings = "".join(f"{_row(name)}\n" for name in SETTING_NAMES)
    return HEAD + settings + EXIT_CODES + "".join(_commands(cli, ""))


def _row(name: SettingName) -> str:
    shown = f" `{default(name)}`" if default(name) else ""
    return f"| `{variable(name)}` |{shown} | {Settings.model_fields[name].description} |"


def _commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        whole = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from _commands(command, whole)
            continue
        shown_as, help_names = f"login-pipeline {whole}", cli.context_settings["help_option_names"]
        context = click.Context(command, info_name=shown_as, terminal_width=100, help_option_names=help_names)
        yield f"\n### {whole}\n\n```console\n$ login-pipeline {whole} --help\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
