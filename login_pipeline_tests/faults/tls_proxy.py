"""The proxy in front of PostgreSQL, with TLS between the client and it.

The embedded PostgreSQL is built without TLS. A client does the same with this as with one that is not: it asks for
TLS, gets a yes, and verifies the certificate.
"""

import select
import socket
import ssl
from contextlib import suppress

import trustme

from login_pipeline_tests.faults.tcp_proxy import TcpProxy

# What a client sends first that wants TLS. Source: PostgreSQL documentation, "Message Formats", SSLRequest.
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
_CHUNK = 65_536


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """What a server with this certificate speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class TlsProxy(TcpProxy):
    """Passes on what comes by TLS, and nothing else."""

    def __init__(self, upstream_url: str, certificate: trustme.LeafCert) -> None:
        self._context = server_context(certificate)
        super().__init__(upstream_url)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):  # a client that does not trust the certificate goes
            if client.recv(len(SSL_REQUEST)) == SSL_REQUEST:
                client.sendall(b"S")
                super()._serve(self._context.wrap_socket(client, server_side=True))

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        assert isinstance(client, ssl.SSLSocket)
        while True:
            ready = [client] if client.pending() else select.select([client, server], [], [])[0]
            for source in ready:
                if not (data := source.recv(_CHUNK)):
                    return
                (server if source is client else client).sendall(data)


class RedisTlsProxy(TlsProxy):
    """In front of Redis, whose clients do not ask for TLS first."""

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            TcpProxy._serve(self, self._context.wrap_socket(client, server_side=True))
