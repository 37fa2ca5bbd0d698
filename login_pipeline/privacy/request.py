"""The people of a privacy request: whom it is about, who carries it out, and why, each checked before it is stored.

A subject is `<key id>.<HMAC-SHA-256 of the user_id>`: the holder of the masking key can show that a record is about a
user, and nobody else can find out about whom it is.
"""

import os
import pwd
import re
import socket
from collections.abc import Iterable
from pathlib import PurePath

from psycopg2 import extensions

from login_pipeline.errors import ConfigurationError
from login_pipeline.logins.columns import MAX_LENGTH
from login_pipeline.logins.ip_address import is_ip
from login_pipeline.masking.keys import MaskingKey, subject_tokens
from login_pipeline.postgres import statements
from login_pipeline.postgres.copy import copy_lines

# Characters; a longer value is in no sentence by chance.
LONG_ID = 6
# Where users are created for people. macOS begins at 501 and Linux at 1000, where users of services in between have no
# shell.
MIN_PERSON_UID = 500
NO_SHELLS = {"nologin", "false"}
MAX_NAME = 100
# E-mail addresses, UUIDs, and the form of device ids that the first senders used.
_EMAIL_OR_ID = re.compile(
    r"[^\s@]+@[^\s@]+\.[^\s@]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)",
    re.IGNORECASE,
)
# What could be an IPv4 or an IPv6 address; is_ip judges it.
_ADDRESS = re.compile(r"[0-9a-f:]*(?:::?|\.)[0-9a-f:.]*[0-9a-f:]", re.IGNORECASE)


def check_user_id(user_id: str) -> None:
    """Returns where it can be in the table.

    Raises:
        ConfigurationError: it cannot; the sentence quotes nothing.
    """
    if not user_id.strip() or len(user_id) > MAX_LENGTH["user_id"] or not _is_text(user_id):
        raise ConfigurationError(
            f"The USER_ID is not one: give 1 to {MAX_LENGTH['user_id']} characters in UTF-8, as the table has them"
        )


def check_reason(reason: str, *about: str) -> None:
    """Returns where the reason can be kept, in clear, after the user is erased.

    `about` are the user_id, masks and values that the request is about.

    Raises:
        ConfigurationError: it is blank or not UTF-8, or has personal data in it.
    """
    if not reason.strip() or not _is_text(reason):
        raise ConfigurationError("The reason is blank or not UTF-8; name the request, such as --reason 'ticket 4711'")
    personal = _EMAIL_OR_ID.search(reason) or any(map(is_ip, _ADDRESS.findall(reason)))
    if personal or any(_names(reason, each) for each in about):
        raise ConfigurationError(
            "The reason names the user, a value, a mask, an address or an id, and is kept in clear; name the request "
            "instead, such as --reason 'ticket 4711'"
        )


def name_users(cursor: extensions.cursor, user_ids: Iterable[str]) -> None:
    """Puts the user_ids where the later statements of the transaction find them."""
    cursor.execute(statements.named_user.stage)
    cursor.copy_expert(statements.named_user.copy, copy_lines([(user_id,) for user_id in user_ids]))


def subject(key: MaskingKey, user_id: str) -> str:
    """The token that names the user in a record."""
    return subject_tokens(key)(user_id)


def operator(by: str | None) -> str:
    """Who carries the request out, on which host: the operating system's user, whom no environment variable changes.

    `by` is the person's name, where many people share that user.

    Raises:
        ConfigurationError: the user is no person's, such as root or a container's, and no name was given, or one that
            cannot be stored.
    """
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:  # a container's user need have no name
        user, is_person = f"uid {os.getuid()}", False
    else:
        user = entry.pw_name
        is_person = entry.pw_uid >= MIN_PERSON_UID and PurePath(entry.pw_shell).name not in NO_SHELLS
    account = f"{user}@{socket.gethostname()}"
    if by is None:
        if not is_person:
            raise ConfigurationError(
                f"{account} is no person's user; say with --by who carries this out, for the record"
            )
        return account
    if not by.strip() or len(by) > MAX_NAME or not by.isprintable():
        raise ConfigurationError(f"--by is no name: give 1 to {MAX_NAME} characters that can be printed")
    return f"{by.strip()} ({account})"


def _names(reason: str, text: str) -> bool:
    """A short text may be a part of a word, and is looked for between words only."""
    if len(text) > LONG_ID:
        return text.lower() in reason.lower()
    return re.search(rf"(?<![^\W_]){re.escape(text)}(?![^\W_])", reason, re.IGNORECASE) is not None


def _is_text(text: str) -> bool:
    """Bytes of an argument that are not UTF-8 arrive as lone surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
