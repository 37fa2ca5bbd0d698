"""Exactly once: from a received batch to its rows, its dead letters and its deletes."""
