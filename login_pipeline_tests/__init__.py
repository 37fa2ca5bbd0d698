"""The tests, in a tree that mirrors the code's; each runs against real services."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
