"""The code location of login-pipeline alone. Other code merges `login_pipeline.defs.login_definitions` into its own."""

import dagster as dg

from login_pipeline.defs import login_definitions
from login_pipeline.logs.redaction import redact_errors
from login_pipeline.logs.setup import set_up_logging

redact_errors()
set_up_logging()

# The executor of what no job of ours runs: Materialize in the UI.
defs = dg.Definitions.merge(login_definitions(), dg.Definitions(executor=dg.in_process_executor))
