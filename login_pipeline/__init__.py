"""Moves login events from an Amazon SQS queue into PostgreSQL with their personal data masked."""

from login_pipeline.core_dumps import turn_off_core_dumps

# Here, because each process that holds a body or a masking key imports the package: commands, the code server, runs and
# what they are forked from, and by deploy/dagster.yaml the daemon and the web server.
turn_off_core_dumps()
