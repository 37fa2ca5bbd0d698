"""Fails a real cluster over in the middle of loads, and accounts for every message."""
