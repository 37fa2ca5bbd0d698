"""How the way to the database and to SQS is protected against others on it."""

from ipaddress import ip_address
from typing import NamedTuple

from psycopg2.extensions import ConnectionInfo


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own. A name that only its resolver knows as such is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Protection(NamedTuple):
    """What to say of a connection, and whether it leaves this machine in clear."""

    says: str
    enough: bool


def protection(info: ConnectionInfo) -> Protection:
    """How the connection is protected.

    TLS keeps from listening; only a verified certificate keeps from answering in the server's place.
    Source: PostgreSQL documentation, "SSL Support", "Protection Provided in Different Modes".
    """
    if info.ssl_in_use:
        mode = info.dsn_parameters.get("sslmode")
        tls = (info.ssl_attribute("protocol") or "TLS").replace("TLSv", "TLS ")
        verified = {
            "verify-full": "certificate verified",
            "verify-ca": "certificate verified, for whichever host: sslmode=verify-full",
        }
        return Protection(f"{tls}, {verified.get(mode or '', 'certificate not verified: sslmode=verify-full')}", True)
    host = info.dsn_parameters.get("hostaddr") or info.host
    if not host or host.startswith(("/", "@")):
        return Protection("a socket of this machine", True)
    return Protection("not encrypted, on this machine" if is_loopback(host) else "not encrypted", is_loopback(host))
