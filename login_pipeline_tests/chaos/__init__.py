"""Kills real runs, breaks what they lean on, and accounts for every message afterwards."""
