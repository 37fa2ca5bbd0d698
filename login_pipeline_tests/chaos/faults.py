"""Every fault there is, in the order of the table."""

from login_pipeline_tests.chaos.bad_messages import BAD_MESSAGES
from login_pipeline_tests.chaos.database_faults import DATABASE_FAULTS
from login_pipeline_tests.chaos.duplicates import DUPLICATES
from login_pipeline_tests.chaos.interruptions import INTERRUPTIONS
from login_pipeline_tests.chaos.kills import KILLS
from login_pipeline_tests.chaos.queue_faults import QUEUE_FAULTS

# All but the death of a run.
BREAKDOWNS = (*DATABASE_FAULTS, *QUEUE_FAULTS, *DUPLICATES, *BAD_MESSAGES, *INTERRUPTIONS)
FAULTS = (*KILLS, *BREAKDOWNS)
