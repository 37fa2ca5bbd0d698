"""Slips in the text of a setting: what files, secrets, shells and copied text add to a value without being seen."""

import os
import re
import unicodedata

# Read by the AWS SDK and by libpq, which take each character for a part of the value. AWS_REGION is a setting of ours.
_OF_OTHERS = re.compile(r"AWS_(?!REGION$)\w+|PG[A-Z]+|REQUESTS_CA_BUNDLE|(?i:(?:https?|all|no)_proxy)")
# Blanks and quotes belong to these where somebody wants them to.
_FREE_TEXT = {"PGPASSWORD", "PGOPTIONS", "PGAPPNAME"}
_CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
_QUOTES = {*"\"'`", *"\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"}
_BYTE_ORDER_MARK = "\ufeff"
# Unicode's categories: control, format, line and paragraph separators; those of bytes that are no UTF-8.
_INVISIBLE = {"Cc", "Cf", "Zl", "Zp"}
_NOT_TEXT = {"Cs"}


def without_margin(text: str) -> str:
    """The text without the blanks, line ends and byte order mark around it, which no setting has."""
    return text.strip().strip(_BYTE_ORDER_MARK).strip()


def slip(text: str) -> str | None:
    """What somebody did not mean to write into a value, in words that do not quote it; None where there is nothing."""
    if text != without_margin(text):
        return "begins or ends with a blank or a line end, which counts as a part of it; take it away"
    if text[:1] in _QUOTES and text[-1:] in _QUOTES:
        return "has quotes around it, which count as a part of it; take them away"
    return _unreadable(text)


def slip_of_others() -> str | None:
    """The slip in a variable that the AWS SDK or libpq reads, after its name; None where there is none."""
    for name, text in os.environ.items():
        if not text or not _OF_OTHERS.fullmatch(name):
            continue
        found = _unreadable(text) if name in _FREE_TEXT else slip(text)
        if name in _CREDENTIALS and not found and not text.isascii():
            found = "has a character that no credential of AWS has, such as a dash or a quote of a word processor"
        if found:
            return f"{name} {found}"
    return None


def _unreadable(text: str) -> str | None:
    categories = set(map(unicodedata.category, text))
    if categories & _NOT_TEXT:
        return "has bytes that are no UTF-8; save it as UTF-8"
    if categories & _INVISIBLE:
        return "has a line end or another invisible character in it; take it away"
    return None
