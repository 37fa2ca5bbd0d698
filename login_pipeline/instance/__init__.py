"""Dagster's own parts, as both dagster.yaml files name them: run launcher, run queue, storage."""
