"""What of a log record goes into its JSON line: ids, codes, counts and sentences of our own.

What an exception says, and the arguments of another library's log line, stay out: either may quote a message.
"""

import logging
from collections.abc import Mapping
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from structlog import contextvars, processors, stdlib
from structlog.typing import EventDict, Processor, WrappedLogger

from login_pipeline.logs.redaction import code_locations, pipeline_error

if TYPE_CHECKING:
    import dagster as dg

# The keys of every line; run_id is null outside a run.
FIRST = ("timestamp", "level", "event", "logger", "run_id")

# What every line begins with.
HEAD: tuple[Processor, ...] = (
    contextvars.merge_contextvars,
    stdlib.add_logger_name,
    stdlib.add_log_level,
    processors.TimeStamper(fmt="iso", utc=True),
)

# What Dagster puts in an error's place. It says the id under which the error is logged, and nothing of the error.
_REDACTED = "DagsterRedactedUserCodeError"


def counts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers in an asset's or a check's metadata, and its counts by code."""
    return {name.removeprefix("dagster/"): value for name, value in metadata.items() if _is_count(value)}


def formatter() -> logging.Formatter:
    """Makes one line of JSON of any record; all but printable ASCII is escaped in it, so that no value forges one."""
    return stdlib.ProcessorFormatter(
        foreign_pre_chain=[*HEAD, _of_others],
        processors=[
            _without_what_errors_say,
            stdlib.ProcessorFormatter.remove_processors_meta,
            _in_order,
            processors.JSONRenderer(default=_plain),
        ],
        use_get_message=False,
        pass_foreign_args=True,
    )


def _of_others(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    """A record that is not ours: Dagster's in its own words, another library's without what it put into them."""
    record, template, arguments = line["_record"], str(line["event"]), line.pop("positional_args")
    line["event"] = "log"
    if meta := getattr(record, "dagster_meta", None):  # source: dagster/_core/log_manager.py
        return {**line, **_of_a_run(meta)}
    if record.name.startswith("dagster"):
        return {**line, "message": template % arguments if arguments else template}
    return {**line, "message": template, "code": [f"{record.pathname}:{record.lineno} in {record.funcName}"]}


def _of_a_run(meta: Mapping[str, Any]) -> dict[str, Any]:
    """One of Dagster's events, or what an asset said to `context.log`."""
    event: dg.DagsterEvent | None = meta["dagster_event"]
    return {
        **(_of_an_event(event) if event else {}),
        "event": event.event_type_value if event else "log",
        "message": meta["orig_message"],
        "run_id": meta["run_id"],
        "job": meta["job_name"],
        "step": meta["step_key"],
    }


def _of_an_event(event: "dg.DagsterEvent") -> dict[str, Any]:
    if event.is_step_materialization:
        materialization = event.step_materialization_data.materialization
        return {"asset": materialization.asset_key.to_user_string(), **_values(materialization.metadata)}
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        return {"check": check.check_name, "passed": check.passed, **_values(check.metadata)}
    error = getattr(event.event_specific_data, "error", None)
    if error is None:
        return {}
    kind = {"exception": {"class": error.cls_name}}
    failure = event.step_failure_data.user_failure_data if event.is_step_failure else None
    if failure is not None:
        return {"error": failure.description, **kind, **_values(failure.metadata)}
    return {"error": error.message.strip(), **kind} if error.cls_name == _REDACTED else kind


def _values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return counts({name: value.value for name, value in metadata.items()})


def _is_count(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(count, int) for count in value.values())
    return isinstance(value, int | float)


def _without_what_errors_say(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    """An exception as its class and the lines of code that it came through; of one of ours, its sentence too."""
    given = line.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given  # as logging has it, and as ours is given
    line.pop("stack_info", None)
    if ours := pipeline_error(error):
        line["error"] = ours.sentence
    if error is not None:
        line["exception"] = {"class": type(error).__name__, "code": code_locations(error)}
    return line


def _in_order(_logger: WrappedLogger, _name: str, line: EventDict) -> EventDict:
    return {name: _finite(value) for name, value in [*((name, line.get(name)) for name in FIRST), *line.items()]}


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; Python would write them all the same."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _plain(value: object) -> int | float | str:
    """A number of numpy's as Python's; of any other object the class only, because its repr may quote anything."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else type(value).__name__
