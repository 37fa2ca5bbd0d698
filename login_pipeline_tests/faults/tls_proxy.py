"""A proxy that speaks TLS in front of a server that does not: of SQS, or of PostgreSQL.

The embedded PostgreSQL is built without TLS. Its client does the same with one that is not: it asks for TLS, is told
yes, and verifies the certificate.
"""

import asyncio
import ssl
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Self

import trustme

from login_pipeline.local.ports import HOST

SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
"""What a client sends first that wants TLS. Source: PostgreSQL documentation, "Message Formats", SSLRequest."""
_CHUNK = 65_536


class TlsProxy:
    """Passes connections on to the server at `upstream_port`, from TLS with this certificate."""

    def __init__(self, upstream_port: int, certificate: trustme.LeafCert, *, postgres: bool = False) -> None:
        self._upstream_port = upstream_port
        self._postgres = postgres
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._listening: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.port, self._loop, self._closed = self._listening.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()

    async def _serve(self) -> None:
        closed = asyncio.Event()
        context = None if self._postgres else self._context
        server = await asyncio.start_server(self._connected, HOST, 0, ssl=context)
        self._listening.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), closed))
        await closed.wait()
        server.close()
        for connection in asyncio.all_tasks() - {asyncio.current_task()}:
            connection.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # either end may go at any time
            if self._postgres:
                if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:  # the server knows nothing else, too
                    return writer.close()
                writer.write(b"S")
                await writer.start_tls(self._context)
            upstream, to_upstream = await asyncio.open_connection(HOST, self._upstream_port)
            await asyncio.gather(_pass_on(reader, to_upstream), _pass_on(upstream, writer))
        return None


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    target.close()
