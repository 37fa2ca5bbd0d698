"""Connections of libcurl's, set up as the AWS SDK sets up its own."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

import pycurl
from botocore.credentials import ReadOnlyCredentials

from login_pipeline.sqs.transport.request_template import RequestTemplate

# Headers that libcurl would add unasked.
NOT_BOTO3_S = ("Accept:", "Expect:")
OK = 200
# Between two looks at calls of which nothing is heard.
POLL_SECONDS = 1.0
# While libcurl has no socket yet: it says so, and is asked again after a pause. Source: curl_multi_fdset.
NOTHING_TO_WAIT_FOR, PAUSE_SECONDS = -1, 0.01
# Below it for the read timeout, the server is taken to be silent. libcurl's mean is of some seconds, what was sent
# included, so that it waits for these, too.
MIN_BYTES_PER_SECOND = 1


class ConnectionOptions(NamedTuple):
    """How connections are made; times in seconds.

    `ca_bundle` is the file of the authorities to trust; None trusts any server.
    """

    connect_timeout: int
    read_timeout: int
    ca_bundle: str | None


class Call(NamedTuple):
    """What calls of one operation have in common while the credentials last."""

    template: RequestTemplate
    operation: str
    credentials: ReadOnlyCredentials | None


class HttpResponse(NamedTuple):
    """What became of one call; `problem` says as a code why there is no good response."""

    body: bytes
    problem: str | None


class CurlSession:
    """Calls that one thread makes at once. Their connections stay open for the next ones."""

    def __init__(self, connection: ConnectionOptions) -> None:
        self._connection = connection
        self._multi = pycurl.CurlMulti()
        self._handles: list[pycurl.Curl] = []
        self._prepared_for: list[Call | None] = []

    def send(self, call: Call, bodies: Sequence[bytes]) -> list[HttpResponse]:
        """Makes a call with each body; the responses in their order.

        Raises:
            pycurl.error: libcurl refuses an option.
        """
        handles = [self._handle(place, call) for place in range(len(bodies))]
        responses = [BytesIO() for _ in bodies]
        for handle, body, response in zip(handles, bodies, responses, strict=True):
            handle.setopt(pycurl.POSTFIELDS, body)
            handle.setopt(pycurl.WRITEDATA, response)
            self._multi.add_handle(handle)
        errors = self._until_all_are_answered(len(handles))
        for handle in handles:
            self._multi.remove_handle(handle)
        return [
            HttpResponse(body.getvalue(), _problem(handle, errors))
            for handle, body in zip(handles, responses, strict=True)
        ]

    def _until_all_are_answered(self, calls: int) -> dict[pycurl.Curl, int]:
        """Libcurl's error codes, of the calls that have one."""
        errors: dict[pycurl.Curl, int] = {}
        while calls:
            self._multi.perform()
            _, good, bad = self._multi.info_read(calls)
            errors.update({handle: code for handle, code, _ in bad})
            calls -= len(good) + len(bad)
            if calls and not (good or bad) and self._multi.select(POLL_SECONDS) == NOTHING_TO_WAIT_FOR:
                time.sleep(PAUSE_SECONDS)
        return errors

    def _handle(self, place: int, call: Call) -> pycurl.Curl:
        if place == len(self._handles):
            self._handles.append(_new_handle(self._connection))
            self._prepared_for.append(None)
        if self._prepared_for[place] != call:
            _prepare(self._handles[place], call)
            self._prepared_for[place] = call
        return self._handles[place]


class CurlSessions:
    """The sessions that no thread uses."""

    def __init__(self, connection: ConnectionOptions) -> None:
        self._connection = connection
        self._free: deque[CurlSession] = deque()

    @contextmanager
    def lend(self) -> Iterator[CurlSession]:
        """The one used last, whose connections are the least likely to be closed; not used again after an error."""
        try:
            session = self._free.pop()
        except IndexError:
            session = CurlSession(self._connection)
        yield session
        self._free.append(session)


def _new_handle(connection: ConnectionOptions) -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)  # libcurl's own signals would end other threads' calls
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # SQS speaks nothing newer
    handle.setopt(pycurl.TCP_KEEPALIVE, 1)
    handle.setopt(pycurl.CONNECTTIMEOUT, connection.connect_timeout)
    handle.setopt(pycurl.LOW_SPEED_LIMIT, MIN_BYTES_PER_SECOND)
    handle.setopt(pycurl.LOW_SPEED_TIME, connection.read_timeout)
    handle.setopt(pycurl.NOPROXY, "")  # the template's proxy is right: libcurl has rules of its own
    if connection.ca_bundle is None:
        handle.setopt(pycurl.SSL_VERIFYPEER, 0)
        handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    else:
        handle.setopt(pycurl.CAINFO, connection.ca_bundle)
    return handle


def _problem(handle: pycurl.Curl, errors: Mapping[pycurl.Curl, int]) -> str | None:
    if handle in errors:
        return f"libcurl {errors[handle]}"
    status = handle.getinfo(pycurl.RESPONSE_CODE)
    return None if status == OK else f"HTTP {status}"


def _prepare(handle: pycurl.Curl, call: Call) -> None:
    """Has libcurl sign what it sends. Source: AWS Signature Version 4; libcurl, CURLOPT_AWS_SIGV4."""
    template, operation, credentials = call
    headers = [*template.headers_of(operation), *NOT_BOTO3_S]
    if credentials is not None:
        handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{template.region}:{template.service}")
        handle.setopt(pycurl.USERNAME, credentials.access_key)
        handle.setopt(pycurl.PASSWORD, credentials.secret_key)
        if credentials.token:
            headers.append(f"X-Amz-Security-Token: {credentials.token}")
    handle.setopt(pycurl.URL, template.url)
    handle.setopt(pycurl.PROXY, template.proxy)
    handle.setopt(pycurl.HTTPHEADER, headers)
