"""The code location of login-pipeline alone. Other code merges `login_pipeline.defs.login_definitions` into its own."""

import dagster as dg

from login_pipeline.gc_pause import no_cycle_collection

# Each process of Dagster begins with this. The collector would look through all that is imported, and stays, time and
# again: a quarter of the time.
with no_cycle_collection():
    from login_pipeline.defs import login_definitions
    from login_pipeline.logs.redaction import redact_errors
    from login_pipeline.logs.setup import set_up_logging

redact_errors()
set_up_logging()

# The executor of what no job of ours runs: Materialize in the UI.
defs = dg.Definitions.merge(login_definitions(), dg.Definitions(executor=dg.in_process_executor))
