"""Runs on any number of hosts: the launcher that deploy/dagster.yaml names, and the workers that take runs from it."""
