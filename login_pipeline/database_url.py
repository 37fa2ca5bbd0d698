"""Judges a database URL before anybody connects: whether it can be used, and which authorities it trusts."""

import os
import re
from pathlib import Path

from login_pipeline.errors import ConfigurationError

# Files of the authorities that a machine trusts: Debian and Alpine, Fedora and RHEL, SUSE, macOS and the BSDs.
# Source: the list of Go's crypto/x509, root_linux.go and root_bsd.go.
SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
MAX_PORT = 65_535

_SHAPE = "postgresql://user:password@host:port/database"
_ENCODE = "the user or the password has a character that must be percent-encoded, such as %40 for @ and %25 for %"


def url_problem(url: str) -> str | None:
    """What is wrong with a libpq URL, without a word of it; None where libpq can be given it.

    libpq takes what comes before the first slash for the host and its port where no @ is in it, and quotes both. So a
    URL is refused here in which a password could be read as either.
    Source: PostgreSQL documentation, "Connection URIs".
    """
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        return "is not a libpq URL"
    if rest.count("@") > 1 or "@" in rest.partition("/")[2]:
        return _ENCODE
    try:
        parts = parse_dsn(url)
    except ProgrammingError as error:
        if "percent-encoded" in str(error):
            return _ENCODE
        return f"is not a URL that libpq reads; write {_SHAPE}, and after ? only what libpq knows"
    hosts = str(parts.get("hostaddr") or parts.get("host") or _host_of_environment() or "").split(",")
    if not all(hosts) and "service" not in parts and not os.getenv("PGSERVICE"):
        return f"names no host, or an empty one; write {_SHAPE}"
    if not all(not port or _is_a_port(port) for port in str(parts.get("port", "")).split(",")):
        return f"has no number from 1 to {MAX_PORT} where the port belongs, or no user and host; write {_SHAPE}"
    return None


def trusting_the_system(parts: dict[str, str]) -> dict[str, str]:
    """What to set beside the parts of a URL so that sslrootcert=system means the authorities of this machine.

    The libpq in psycopg2's wheel looks for them in the folder of the machine on which the wheel was built, unless
    SSL_CERT_FILE or SSL_CERT_DIR says otherwise. As libpq does, it insists on verify-full.
    Source: PostgreSQL documentation, "Client Verification of Server Certificates".

    Raises:
        ConfigurationError: this machine has no file of authorities.
    """
    root = parts.get("sslrootcert") or os.getenv("PGSSLROOTCERT")
    mode = parts.get("sslmode") or os.getenv("PGSSLMODE") or "verify-full"
    if root != "system" or mode != "verify-full" or {"SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ):
        return {}
    file = next((file for file in SYSTEM_AUTHORITIES if Path(file).is_file()), None)
    if file is None:
        raise ConfigurationError(
            "sslrootcert=system asks for the certificate authorities of this machine, which has none in a known "
            "place; install its package ca-certificates, or name their file in sslrootcert or SSL_CERT_FILE"
        )
    return {"sslrootcert": file, "sslmode": "verify-full"}


def _host_of_environment() -> str | None:
    return os.getenv("PGHOSTADDR") or os.getenv("PGHOST")


def _is_a_port(port: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", port) is not None and 1 <= int(port) <= MAX_PORT
