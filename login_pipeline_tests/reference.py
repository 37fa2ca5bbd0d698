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
COMMANDS = """
## Commands

With `--json`, stdout is exactly one JSON object. With `DAGSTER_HOME` set, runs are recorded in that Dagster instance.
"""


def default(name: SettingName) -> str:
    """As it is written in the environment; empty where there is none."""
    value = Settings.model_fields[name].default
    return "" if value is None else str(value).lower()


def reference() -> str:
    """The whole document."""
    settings = "".join(f"{_row(name)}\n" for name in SETTING_NAMES)
    return HEAD + settings + COMMANDS + "".join(_commands(cli, "login-pipeline"))


def _row(name: SettingName) -> str:
    shown = f" `{default(name)}`" if default(name) else ""
    return f"| `{variable(name)}` |{shown} | {Settings.model_fields[name].description} |"


def _commands(command: click.Command, path: str) -> Iterator[str]:
    """The help of the command, and of each below it."""
    help_names = cli.context_settings["help_option_names"]
    context = click.Context(command, info_name=path, terminal_width=100, help_option_names=help_names)
    heading = path.removeprefix("login-pipeline ")
    yield f"\n### {heading}\n\n```console\n$ {path} --help\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from _commands(below, f"{path} {name}")


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
