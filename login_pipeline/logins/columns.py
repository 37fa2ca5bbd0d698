"""The destination's columns, in its order: what each holds and the PostgreSQL type it has there."""

from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """One column of user_logins; `max_length` is in characters."""

    name: str
    type: str
    max_length: int | None
    description: str


USER_LOGINS = (
    Column("user_id", "character varying", 128, "Who logged in, as the message says."),
    Column("device_type", "character varying", 32, "The kind of device, as the message says."),
    Column("masked_ip", "character varying", 256, "The canonical ip, masked: equal ips have equal masks."),
    Column("masked_device_id", "character varying", 256, "The device_id, masked: equal ids have equal masks."),
    Column("locale", "character varying", 32, "The user's locale; NULL where the message has none."),
    Column("app_version", "integer", None, "The major version of the app."),
    Column("create_date", "date", None, "The UTC date on which the message was sent to the queue."),
)
NAMES = [column.name for column in USER_LOGINS]
MAX_LENGTH = {column.name: column.max_length for column in USER_LOGINS if column.max_length}


def declared_type(column: Column) -> str:
    """The type as DDL writes it, such as `character varying(128)`."""
    return f"{column.type}({column.max_length})" if column.max_length else column.type


def column_problems(actual: Sequence[tuple[str, str]]) -> list[str]:
    """How the columns of a table differ from the destination's, a phrase each; empty when they are the same."""
    wanted = {column.name: declared_type(column) for column in USER_LOGINS}
    found = dict(actual)
    missing = [f"{name} is missing" for name in wanted if name not in found]
    other = [
        f"{name} is {found[name]}, not {type_}"
        for name, type_ in wanted.items()
        if name in found and found[name] != type_
    ]
    extra = [f"{name} is not one of its columns" for name in found if name not in wanted]
    order = [] if missing or extra or list(found) == NAMES else ["its columns are in another order"]
    return missing + other + extra + order
