"""The people of a privacy request: whom it is about, who carries it out, and why, each checked before it is stored."""

import os
import pwd
import re
import socket

from psycopg2 import extensions

from login_pipeline.columns import MAX_LENGTH
from login_pipeline.errors import ConfigurationError
from login_pipeline.resources.postgres_load import copy_lines
from login_pipeline.sql import statements

LONG_ID = 6
"""Characters; what is longer stands in no sentence by chance."""


def check_user_id(user_id: str) -> None:
    """Returns where it can be in the table.

    Raises:
        ConfigurationError: it cannot, as told here, where nothing quotes it.
    """
    if not user_id.strip() or len(user_id) > MAX_LENGTH["user_id"] or not _is_text(user_id):
        raise ConfigurationError(
            f"The USER_ID is not one: give 1 to {MAX_LENGTH['user_id']} characters in UTF-8, as the table has them"
        )


def check_reason(reason: str, user_id: str | None = None) -> None:
    """Returns where the reason can be kept for ever.

    Raises:
        ConfigurationError: it is blank, not UTF-8, or names the user.
    """
    if not reason.strip() or not _is_text(reason):
        raise ConfigurationError("The reason is blank or not UTF-8; name the request, such as --reason 'ticket 4711'")
    if user_id and _names(reason, user_id):
        raise ConfigurationError("The reason names the user, and is kept in clear; name the request instead")


def name_user(cursor: extensions.cursor, user_id: str) -> None:
    """Puts the user_id where the later statements of the transaction find it."""
    cursor.execute(statements("named_user")["stage"])
    cursor.copy_expert(statements("named_user")["copy"], copy_lines([(user_id,)]))


def operator() -> str:
    """Who runs this, on which host: the operating system's user, as the system and not the environment has it."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _names(reason: str, user_id: str) -> bool:
    """A short id may be a part of a word, and is looked for between words only."""
    if len(user_id) > LONG_ID:
        return user_id.lower() in reason.lower()
    return re.search(rf"(?<![^\W_]){re.escape(user_id)}(?![^\W_])", reason, re.IGNORECASE) is not None


def _is_text(text: str) -> bool:
    """Bytes of an argument that are not UTF-8 arrive as lone surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
