"""Which hosts are this machine itself, so that nothing on the way there can be read or changed by others."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own. A name that only its resolver knows as such is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
