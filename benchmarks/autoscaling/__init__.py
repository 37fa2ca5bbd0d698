"""A simulated day: the sensor's real decisions, against a model of the workers and of what scales them.

Pure: no service, no clock, and the same day for the same seed. docs/scaling.md has what comes of it, and what the model
leaves out.
"""
