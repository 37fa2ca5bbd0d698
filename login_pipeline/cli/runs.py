"""Runs the jobs in this process, for the command line: each run's figures, and why it failed."""

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg
from structlog.contextvars import bound_contextvars

from login_pipeline.definitions import defs
from login_pipeline.errors import ConfigurationError
from login_pipeline.logs.json_lines import counts
from login_pipeline.logs.setup import process_log

# A failed run is reported in one sentence; the rest is in the Dagster instance.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class CheckResult(NamedTuple):
    """What an asset check said; `severity`, ERROR or WARN, is what it means that it did not pass."""

    name: str
    passed: bool
    severity: str
    metadata: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return not self.passed and self.severity == dg.AssetCheckSeverity.ERROR.value

    @property
    def warned(self) -> bool:
        """Whether something is to be looked at, and nothing failed."""
        return not self.passed and not self.failed


class Run(NamedTuple):
    """A finished run: each asset's metadata, its checks, and a sentence for each step that failed."""

    metadata: dict[str, dict[str, Any]]
    checks: list[CheckResult]
    failures: list[str]

    @property
    def passed(self) -> bool:
        """Whether no step failed, and no check; one that warns is no failure."""
        return not self.failures and not any(check.failed for check in self.checks)


def dagster_instance() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME, so that its UI shows the runs; one in memory where there is none.

    Raises:
        ConfigurationError: DAGSTER_HOME names no instance that can be used.
    """
    home = os.getenv("DAGSTER_HOME")
    if not home:
        return dg.DagsterInstance.ephemeral()
    try:
        return dg.DagsterInstance.get()
    except Exception as error:
        raise ConfigurationError(
            f"DAGSTER_HOME={home} does not hold a Dagster instance that can be used ({type(error).__name__}); correct "
            "it, its dagster.yaml and the variables that this reads (LOGIN_DAGSTER_DATABASE_URL), or unset it to run "
            "without"
        ) from None


def run(job_name: str, instance: dg.DagsterInstance, config: Mapping[str, Any] | None = None) -> Run:
    """Runs the job once, in this process, and returns how it went; a failed run raises nothing.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; the run has released its messages.
    """
    run_id = str(uuid.uuid4())
    with bound_contextvars(run_id=run_id, job=job_name):
        result = defs.resolve_job_def(job_name).execute_in_process(
            instance=instance, run_id=run_id, run_config={**_QUIET, **(config or {})}, raise_on_error=False
        )
        finished = _finished(result)
        log = process_log().info if finished.passed else process_log().error
        log(
            "run_finished",
            passed=finished.passed,
            counts={asset: counts(metadata) for asset, metadata in finished.metadata.items()},
            failed_checks=[check.name for check in finished.checks if check.failed],
            warned_checks=[check.name for check in finished.checks if check.warned],
            failures=finished.failures,
        )
    return finished


def _finished(result: dg.ExecuteInProcessResult) -> Run:
    failed_steps = [event for event in result.all_events if event.is_step_failure]
    if any(_error_class(event) == dg.DagsterExecutionInterruptedError.__name__ for event in failed_steps):
        raise KeyboardInterrupt
    checks = [
        CheckResult(check.check_name, check.passed, check.severity.value, _plain(check.metadata))
        for check in result.get_asset_check_evaluations()
    ]
    materializations = [
        event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization
    ]
    metadata = {each.asset_key.to_user_string(): _plain(each.metadata) for each in materializations}
    for event in failed_steps:
        failure = event.step_failure_data.user_failure_data
        if event.step_key and failure is not None:
            metadata[event.step_key] = _plain(failure.metadata)
    return Run(metadata, checks, [_sentence(event, checks) for event in failed_steps])


def _plain(metadata: Any) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def _sentence(event: dg.DagsterEvent, checks: Sequence[CheckResult]) -> str:
    """Our own errors' sentence. What another error says is withheld: it may quote data."""
    failure = event.step_failure_data.user_failure_data
    if failure is not None and failure.description:
        return failure.description
    if _error_class(event) == "DagsterAssetCheckFailedError":
        failed = ", ".join(check.name for check in checks if check.failed)
        return f"Asset checks failed: {failed}; nothing was changed after them"
    return f"Step {event.step_key} failed unexpectedly; where it came from is shown above"


def _error_class(event: dg.DagsterEvent) -> str | None:
    error = event.step_failure_data.error
    return error.cls_name if error is not None else None
