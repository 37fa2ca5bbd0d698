"""Every fault there is, in the order of the table."""

from login_pipeline_tests.chaos.kills import KILLS

FAULTS = (*KILLS,)
