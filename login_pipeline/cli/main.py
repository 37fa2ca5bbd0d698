"""The login-pipeline command: reads its arguments, calls what does the work, and turns errors into exit codes."""

import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import IO, NoReturn

import click

from login_pipeline.alerts.delivery import deliver
from login_pipeline.cli.database import backup, check, expire, prepare, prune, restore
from login_pipeline.cli.dev import dev
from login_pipeline.cli.doctor import examine
from login_pipeline.cli.keys import keys
from login_pipeline.cli.options import DONE, FAILED, INTERRUPTED, MISCONFIGURED, as_json, counted, end, extra
from login_pipeline.cli.output import drain_progress, show, show_drain, show_findings, show_redrive
from login_pipeline.cli.privacy import forget, subject, unmask
from login_pipeline.cli.send import send_lines
from login_pipeline.errors import ConfigurationError, LoginPipelineError
from login_pipeline.gc_pause import no_cycle_collection
from login_pipeline.ingest.redrive import problems, redrive
from login_pipeline.local.ports import HOST
from login_pipeline.local.sample_messages import sample_messages
from login_pipeline.local.services import local_services
from login_pipeline.logs.setup import report_error, report_warning, set_up_logging
from login_pipeline.masking.masker import NOT_KEYED, Masker
from login_pipeline.settings import LogFormat, MaskingMethod, Settings, read_settings, variable
from login_pipeline.signals import ignore_signals, raise_at_signals
from login_pipeline.sqs.login_queues import LoginQueues

# A command imports what needs Dagster or pandas when it runs: they take seconds, and --help needs neither.


def _choose_log_format(_context: click.Context, _option: click.Parameter, chosen: str | None) -> None:
    """In the environment, where the processes that a command starts find it, too."""
    if chosen:
        os.environ[variable("log_format")] = chosen
    set_up_logging()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="login-pipeline")
@click.option(
    "--log-format",
    type=click.Choice([each.value for each in LogFormat]),
    help="Format of the lines on stderr. Defaults to LOGIN_LOG_FORMAT.",
    callback=_choose_log_format,
    expose_value=False,
    is_eager=True,
)
def cli() -> None:
    """Moves login events from an Amazon SQS queue into PostgreSQL with their personal data masked.

    Exit codes: 0 done; 1 a run or a check failed; 2 the configuration is wrong; 130 interrupted.
    """


for command in (check, prepare, prune, expire, backup, restore, keys, unmask, subject, forget):
    cli.add_command(command)


@cli.command()
def demo() -> None:
    """Drain 100 sample messages on embedded services and show the rows."""
    with ThreadPoolExecutor(1) as importer:  # the servers start while Dagster and pandas are imported
        module = importer.submit(import_module, "login_pipeline.cli.demo")
        with local_services() as settings:
            sys.exit(module.result().demo(settings))


@cli.command("dev")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port of the Dagster UI, on 127.0.0.1.",
)
def dev_command(port: int) -> None:
    """Run the Dagster UI and sensor on embedded services, until Ctrl-C."""
    settings = read_settings()
    _warn_of_masks_without_a_key(settings)
    sys.exit(dev(settings, port))


@cli.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--sample", type=click.IntRange(min=1), help="Send this many sample messages instead of a file.")
def send(file: IO[bytes] | None, sample: int | None) -> None:
    """Send each line of FILE (- for stdin) as a message, unchanged."""
    if (file is None) == (sample is None):
        raise click.UsageError("name a FILE (- for stdin) or --sample N")
    lines = file if file else (body.encode() for body in sample_messages(sample or 0))
    sent = send_lines(LoginQueues(read_settings()).login_queue, lines)
    click.echo(f"{counted(sent.messages, 'message')} sent")
    for number, reason in sent.refused.items():
        report_error(f"line {number} was not sent: {reason}", "line_not_sent", line=number, reason=reason)
    sys.exit(FAILED if sent.refused else DONE)


@cli.command("drain")
@as_json
def drain_command(as_json: bool) -> None:
    """Run login_job until the queue is empty and no run is active."""
    from login_pipeline.cli.drain import drain
    from login_pipeline.cli.runs import dagster_instance

    settings = read_settings()
    _warn_of_masks_without_a_key(settings)
    try:
        with dagster_instance() as instance, drain_progress(settings.log_format) as progress:
            totals = drain(settings, instance, progress)
    except KeyboardInterrupt:
        _end("Interrupted; what the run held is back on the queue.", INTERRUPTED)
    show(totals.figures(), as_json=as_json, as_text=lambda: show_drain(totals))
    end(totals.failures)


@cli.command()
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="How many runs at once.")
def worker(runs: int) -> None:
    """Take runs from Redis, where Dagster puts them, until SIGTERM."""
    settings = read_settings()
    redis_url = settings.require("redis_url")
    Masker(settings).masks()
    with extra("cluster", needed_by="LOGIN_REDIS_URL"), no_cycle_collection():
        from login_pipeline.instance.worker import work
    work(redis_url, runs=runs)


@cli.command()
@click.option("--host", default=HOST, show_default=True, help="Address to listen on; nobody is asked who they are.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port to listen on.")
@click.option("--asset-prefix", metavar="PREFIX", help="That of login_definitions, a/b where it has two parts.")
def metrics(host: str, port: int, asset_prefix: str | None) -> None:
    """Serve metrics to Prometheus at /metrics, until Ctrl-C.

    They are asked of SQS, PostgreSQL and Dagster's records at each scrape (docs/metrics.md). Needs no masking key.
    """
    settings = read_settings()
    for name in ("queue_url", "database_url"):
        settings.require(name)
    if not os.getenv("DAGSTER_HOME"):
        raise ConfigurationError(
            "DAGSTER_HOME is not set, so nothing is known of any run; set it to the folder of the pipeline's "
            "dagster.yaml"
        )
    with extra("metrics", needed_by="login-pipeline metrics"):
        from login_pipeline.cli.metrics import serve
    from login_pipeline.cli.runs import dagster_instance

    with dagster_instance() as instance:
        serve(settings, instance, host, port, asset_prefix.split("/") if asset_prefix else [])


@cli.command("redrive")
@click.option("--reason", metavar="CODE", help="Only messages with this reason, such as malformed.ip.")
@click.option("--dry-run", is_flag=True, help="Only count them by reason; every message stays where it is.")
@as_json
def redrive_command(reason: str | None, dry_run: bool, as_json: bool) -> None:
    """Send quarantined messages back to the queue after a fix."""
    settings = read_settings()
    done = redrive(settings, reason, dry_run=dry_run)
    show(done.figures(), as_json=as_json, as_text=lambda: show_redrive(done))
    end(problems(done, reason, settings))


@cli.command()
@click.option("--test", is_flag=True, help="Send one message that says that it is a test.")
def alert(test: bool) -> None:
    """Try whether a message reaches the people in LOGIN_ALERT_URL.

    health_sensor sends them what goes wrong, and that it is over.
    """
    if not test:
        raise click.UsageError("name --test: health_sensor sends the others")
    took = deliver("login-pipeline: this is a test; nothing is wrong.", read_settings())
    click.echo(f"The test message arrived: {took}")


@cli.command()
def doctor() -> None:
    """Show what is configured and reachable and how to fix what is not."""
    findings = examine()
    show_findings(findings)
    sys.exit(DONE if all(finding.well for finding in findings) else MISCONFIGURED)


def main() -> None:
    """Runs the command; an error that we know ends it with one sentence on stderr and its exit code."""
    _escape_what_cannot_be_encoded()
    try:
        raise_at_signals()
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        _end(error.format_message(), error.exit_code, show=error.show)
    except ConfigurationError as error:
        _end(error.sentence, MISCONFIGURED)
    except LoginPipelineError as error:
        _end(error.sentence, FAILED)
    except (click.Abort, KeyboardInterrupt):
        _end("Interrupted.", INTERRUPTED)
    except Exception as error:  # what it says may quote a message
        if set_up_logging():
            raise  # sys.excepthook logs it as JSON
        from login_pipeline.logs.redaction import code_locations

        _end(f"It failed unexpectedly: {type(error).__name__} at {code_locations(error)[-1]}", FAILED)


def _escape_what_cannot_be_encoded() -> None:
    """Output never fails on a character: unmask has recorded what it shows before it shows it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")


def _warn_of_masks_without_a_key(settings: Settings) -> None:
    if settings.masking_method is MaskingMethod.SHA256:
        report_warning(NOT_KEYED, "masks_need_a_key")


def _end(sentence: str, exit_code: int, show: Callable[[], None] | None = None) -> NoReturn:
    event = "interrupted" if exit_code == INTERRUPTED else "command_failed"
    if exit_code == INTERRUPTED:
        ignore_signals()  # another one would change the exit code
    report_error(sentence, event, show=show, exit_code=exit_code)
    if exit_code == INTERRUPTED:
        # An object that the signal cut off in its constructor cannot be finalized, and Python says so, from 3.13 on.
        sys.unraisablehook = lambda _lost: None
    sys.exit(exit_code)
