"""Connections of libcurl's, set up as the AWS SDK sets up its own."""

from collections import deque
from typing import NamedTuple
from urllib.parse import urlsplit

import pycurl
from botocore.credentials import ReadOnlyCredentials
from botocore.utils import get_environ_proxies

from login_pipeline.resources.sqs_pattern import Pattern

NOT_BOTO3_S = ("Accept:", "Expect:")
"""Headers that libcurl would add unasked."""
SLOWEST = 1
"""Bytes a second; below it for the read timeout, the server is taken to be silent."""


class Connection(NamedTuple):
    """How connections are made; times in seconds.

    `ca_bundle` is the file of the authorities to trust; None trusts any server.
    """

    connect_timeout: int
    read_timeout: int
    ca_bundle: str | None


class Call(NamedTuple):
    """What calls of one operation have in common while the credentials last."""

    pattern: Pattern
    operation: str
    credentials: ReadOnlyCredentials | None


class Handles:
    """libcurl's handles, one for each call under way. Each keeps its connection open for the next call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._free: deque[tuple[Call, pycurl.Curl]] = deque()

    def take(self, call: Call) -> pycurl.Curl:
        """A handle for the call, less its body: the one used last, whose connection is the least likely to be closed.

        Raises:
            pycurl.error: libcurl does not take what it is told.
        """
        try:
            used_for, handle = self._free.pop()
        except IndexError:
            used_for, handle = None, self._new(call.pattern.url)
        if used_for != call:
            _prepare(handle, call)
        return handle

    def put_back(self, call: Call, handle: pycurl.Curl) -> None:
        """Lets other calls use it."""
        self._free.append((call, handle))

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


def _prepare(handle: pycurl.Curl, call: Call) -> None:
    """Has libcurl sign what it sends. Source: AWS Signature Version 4; libcurl, CURLOPT_AWS_SIGV4."""
    pattern, operation, credentials = call
    headers = [*pattern.headers_of(operation), *NOT_BOTO3_S]
    if credentials is not None:
        handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{pattern.region}:{pattern.service}")
        handle.setopt(pycurl.USERNAME, credentials.access_key)
        handle.setopt(pycurl.PASSWORD, credentials.secret_key)
        if credentials.token:
            headers.append(f"X-Amz-Security-Token: {credentials.token}")
    handle.setopt(pycurl.URL, pattern.url)
    handle.setopt(pycurl.HTTPHEADER, headers)
