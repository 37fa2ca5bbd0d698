"""Looks for the campaigns' personal data in clear wherever a run could have left it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from login_pipeline_tests.at_rest import places
from login_pipeline_tests.at_rest.search import unpacked
from login_pipeline_tests.chaos.messages import PERSONAL_DATA


def leaks_in_database(url: str) -> dict[str, int]:
    """Rows with personal data in them, by table; every column of every table is read."""
    return dict(Counter(place for place, row in places.rows(url) if _count(row)))


def leaks_in_files(folders: Iterable[Path]) -> dict[str, int]:
    """How often personal data is in the files below the folders, by file; binary ones are read, too."""
    found = {file: _count(content) for file, content in places.files(folders)}
    return {name: count for name, count in found.items() if count}


def _count(content: bytes) -> int:
    return sum(len(PERSONAL_DATA.findall(each)) for each in unpacked(content))
