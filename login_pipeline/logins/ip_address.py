"""The one spelling of an ip, so that equal addresses have equal masks. Pure: no I/O, no Dagster."""

import ipaddress
import re

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = "[1-9a-f][0-9a-f]{0,3}+"
# What is surely canonical already: IPv4; IPv6 of 8 groups, none of them zero, or of 1 to 6 and a `::` after the first.
# No rule, but a shortcut to the same result: Python's parser takes ten times as long.
_CANONICAL = re.compile(
    rf"{_OCTET}(?:\.{_OCTET}){{3}}"
    rf"|{_GROUP}(?::{_GROUP}){{7}}"
    rf"|(?={_GROUP}(?:::?{_GROUP}){{0,5}}(?:::)?\Z){_GROUP}(?::{_GROUP})*+::(?:{_GROUP}(?::{_GROUP})*)?"
)


def canonical_ip(text: str) -> str:
    """The address as RFC 5952 spells it; IPv4 that is mapped into IPv6 as IPv4. Blanks around it are no part of it.

    Raises:
        ValueError: it is no address, or has a zone, which means something on the sender's host alone.
    """
    return text if _CANONICAL.fullmatch(text) else parsed_ip(text)


def parsed_ip(text: str) -> str:
    """What `canonical_ip` gives, without its shortcut."""
    address = ipaddress.ip_address(text.strip())
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address with a zone")
        return str(address.ipv4_mapped or address)
    return str(address)


def is_ip(text: str) -> bool:
    """Whether the text, less the blanks around it, is an address, with a zone or without."""
    if "." not in text and ":" not in text:
        return False
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True
