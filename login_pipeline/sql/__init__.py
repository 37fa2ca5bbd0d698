"""Reads the named SQL statements that stand in this folder's files."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(file: str) -> dict[str, str]:
    """The statements of `file`.sql by their names; a name is a line `-- name: NAME` above its statement."""
    parts = _NAME.split(files(__name__).joinpath(f"{file}.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (statement.strip() for statement in parts[2::2]), strict=True))
