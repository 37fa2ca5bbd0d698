"""Measures the pipeline against a plain script and against overlapped boto3, and holds it to its targets.

It starts its own SQS server and its own PostgreSQL, or uses those that --endpoint-url and --database-url name. There it
makes queues, and databases or schemas, of its own names, and deletes them again; a user_logins that is there is not
touched. Exit codes: 0 all targets met; 1 one is missed, or a run came to a wrong end, by name; 2 it could not start;
130 interrupted.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.campaign import campaign
from benchmarks.judge import verdicts
from benchmarks.plan import plan
from benchmarks.plot import draw
from benchmarks.report import sentences, show
from benchmarks.results import FOLDER, require_writable, result, write
from benchmarks.servers import servers
from login_pipeline.errors import LoginPipelineError

PLOT = Path(__file__).parent.parent / "docs" / "performance.svg"
LEFT_OUT = {
    "endpoint_url": "0 and 15 ms a call, and the drain by the sensor, because --endpoint-url names a server that has "
    "its own latency; the targets for them, and the server's CPU",
    "database_url": "PostgreSQL's CPU, because --database-url names a server that cannot be looked into",
}


class Arguments(argparse.ArgumentParser):
    """Wrong arguments are told in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        self.exit(2, f"{message[0].upper()}{message[1:]}; see python -m benchmarks --help\n")


def main() -> int:
    """The exit code; a signal ends it as Ctrl-C does."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _interrupt)
    return benchmark(sys.argv[1:])


def benchmark(arguments: Sequence[str]) -> int:
    """The exit code of a benchmark with these arguments."""
    given = _given(arguments)
    try:
        return _run(given)
    except LoginPipelineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; what was started is stopped, and what was made is deleted\n")
        return 130


def _run(given: argparse.Namespace) -> int:
    planned = plan(
        full=given.full, given_queues=given.endpoint_url is not None, messages=given.messages, rounds=given.runs
    )
    if given.only:
        planned = planned.only(given.only)
    require_writable(given.output)
    with servers(given.endpoint_url, given.database_url) as surroundings:
        measurements = campaign(planned, surroundings)
    left_out = [sentence for argument, sentence in LEFT_OUT.items() if getattr(given, argument) is not None]
    if given.only:
        left_out.append(f"every scenario but {', '.join(given.only)}")
    elif not given.full:
        left_out.append("90 of the 100 runs in one process, and backlogs over 100,000; make bench-full has them")
    told = result(measurements, verdicts(measurements, planned), planned, left_out)
    show(told)
    _keep(told, given)
    wrong = sentences(told)
    for sentence in wrong:
        sys.stderr.write(f"{sentence}\n")
    return 1 if wrong else 0


def _keep(told: dict[str, Any], given: argparse.Namespace) -> None:
    """The JSON, and the plot: in the docs where the benchmark is the one that they are about."""
    write(told, given.output)
    ours = not any((given.endpoint_url, given.database_url, given.messages, given.only))
    drawn = given.plot or (PLOT if ours else given.output.with_suffix(".svg"))
    draw(told, drawn)
    print(f"The result is in {given.output}, the plot in {drawn}")


def _given(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="more rounds, larger backlogs, 100 runs in one process")
    parser.add_argument("--endpoint-url", help="of an SQS server: AWS, LocalStack or another")
    parser.add_argument("--database-url", help="of a PostgreSQL database, whose role may create databases or schemas")
    parser.add_argument("--messages", type=number, help="for the bare engine; everything else in proportion")
    parser.add_argument("--runs", type=number, help="of each scenario, 3 without it, 5 with --full")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="no other scenarios than these")
    name = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json"
    parser.add_argument("--output", type=Path, default=FOLDER / name, help="the file for the result")
    parser.add_argument("--plot", type=Path, help="the file for the plot, instead of docs/performance.svg")
    return parser.parse_args(arguments)


def number(text: str) -> int:
    """One or more, from the command line."""
    given = int(text)
    if given < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return given


def _interrupt(*_: object) -> None:
    """Stopping takes seconds, and is not to be stopped."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
