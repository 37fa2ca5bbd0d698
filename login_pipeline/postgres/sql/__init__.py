"""Reads the named SQL statements in this folder's files."""

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_EMBEDDED = re.compile(r"\{(\w+)\.(\w+)\}")


@cache
def statements(file: str) -> dict[str, str]:
    """The statements of `file`.sql by their names; a name is a line `-- name: NAME` above its statement.

    Where a statement has `{OTHER.NAME}` it embeds the statement of that name in OTHER.sql.
    """
    return {name: _EMBEDDED.sub(_embedded, statement) for name, statement in _written(file).items()}


def _embedded(name: re.Match[str]) -> str:
    return _EMBEDDED.sub(_embedded, _written(name[1])[name[2]]).rstrip(";")


@cache
def _written(file: str) -> dict[str, str]:
    parts = _NAME.split(files(__name__).joinpath(f"{file}.sql").read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (statement.strip() for statement in parts[2::2]), strict=True))
