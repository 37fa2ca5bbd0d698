"""Connections of libcurl's, set up as the AWS SDK sets up its own."""

from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

import pycurl
from botocore.utils import get_environ_proxies

SLOWEST = 1
"""Bytes a second; below it for the read timeout, the server is taken to be silent."""


class Connection(NamedTuple):
    """How connections are made; times in seconds.

    `ca_bundle` is the file of the authorities to trust; None trusts any server.
    """

    connect_timeout: int
    read_timeout: int
    ca_bundle: str | None


class Handles:
    """libcurl's handles, one for each call under way. Each keeps its connection open for the next call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._free: deque[pycurl.Curl] = deque()

    def take(self, url: str) -> pycurl.Curl:
        """A handle that nobody else uses: the one used last, whose connection is the least likely to be closed."""
        try:
            return self._free.pop()
        except IndexError:
            return self._new(url)

    def put_back(self, handle: pycurl.Curl) -> None:
        """Lets other calls use it."""
        self._free.append(handle)

    def _new(self, url: str) -> pycurl.Curl:
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)  # libcurl's own signals would end other threads' calls
        handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # SQS speaks nothing newer
        handle.setopt(pycurl.TCP_KEEPALIVE, 1)
        handle.setopt(pycurl.CONNECTTIMEOUT, self._connection.connect_timeout)
        handle.setopt(pycurl.LOW_SPEED_LIMIT, SLOWEST)
        handle.setopt(pycurl.LOW_SPEED_TIME, self._connection.read_timeout)
        handle.setopt(pycurl.NOPROXY, "")
        # As botocore reads the environment; libcurl has rules of its own.
        handle.setopt(pycurl.PROXY, get_environ_proxies(url).get(urlsplit(url).scheme, ""))
        if self._connection.ca_bundle is None:
            handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            handle.setopt(pycurl.SSL_VERIFYHOST, 0)
        else:
            handle.setopt(pycurl.CAINFO, self._connection.ca_bundle)
        return handle
