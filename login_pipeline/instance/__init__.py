"""Runs on any number of hosts: the launcher that deploy/dagster.yaml names, and the workers that take runs from it."""

# The tag with the host on which a run works.
HOST_TAG = "login_pipeline/host"
