"""Where a run's own code logs what it does."""

from contextlib import suppress

import dagster as dg

from login_pipeline.logs.setup import Log, process_log


def run_log(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.InitResourceContext) -> Log:
    """Where an asset, a check or a resource logs; every line has the run's id, and the step's name.

    It is for stderr only: Dagster's event log would make a database row of every line.
    """
    bound: dict[str, str] = {}
    with suppress(dg.DagsterError):  # called directly, by a test
        if context.run:
            bound["run_id"] = context.run.run_id
        if not isinstance(context, dg.InitResourceContext):
            bound["step"] = context.op_execution_context.op.name
    return process_log(**bound)
