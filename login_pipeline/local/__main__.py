"""Runs a command with the embedded services: `python -m login_pipeline.local [--temporary] COMMAND ...`."""

import argparse
import subprocess
import sys
from contextlib import ExitStack, suppress

from login_pipeline.errors import ConfigurationError
from login_pipeline.local.services import local_services, pipeline_environment, temporary_folder
from login_pipeline.signals import raise_at_signals


def main() -> int:
    """The command's exit code; 2 when the services do not start."""
    parser = argparse.ArgumentParser(prog="python -m login_pipeline.local", description=__doc__)
    parser.add_argument("--temporary", action="store_true", help="with empty services, removed afterwards")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        parser.error("name a command")
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        raise_at_signals()
        folder = stack.enter_context(temporary_folder()) if arguments.temporary else None
        try:
            settings = stack.enter_context(local_services(folder))
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        return subprocess.run(command, env=pipeline_environment(settings), check=False).returncode
    return 130


if __name__ == "__main__":
    sys.exit(main())
