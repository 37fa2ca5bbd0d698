"""SQS's busiest calls at a fraction of what they cost with boto3: libcurl signs and sends them.

boto3 makes the first call, and libcurl the others by the template that it leaves (request_template.py). A call that is
not answered with 200, for any reason, boto3 makes again: endpoint, region, credentials, retries, backoff and
errors are the SDK's own, and only what goes well is made cheap.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

import msgspec
import pycurl
from botocore.credentials import ReadOnlyCredentials

from login_pipeline.sqs.transport.client import (
    CALL_ERRORS,
    CHANGE_VISIBILITY,
    CONNECT_SECONDS,
    DELETE,
    RECEIVE,
    CallError,
    Operation,
    Request,
    Response,
    Sdk,
    is_about_the_request,
)
from login_pipeline.sqs.transport.request_template import RequestTemplate, TemplateRecorder

# Those that a run makes by the thousand. What a message says of itself is base64 in a SendMessageBatch.
BY_LIBCURL = {RECEIVE.name, DELETE.name, CHANGE_VISIBILITY.name}
# Failed calls before a good one after which libcurl makes no more: it cannot work here, and each may be a time-out.
MAX_FAILURES = 10
# In header X-Amz-Target, before the operation. Source: botocore's model of SQS, `targetPrefix`.
SERVICE = "AmazonSQS"
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


class Call(NamedTuple):
    """What calls of one operation have in common while the credentials last."""

    template: RequestTemplate
    operation: str
    credentials: ReadOnlyCredentials | None


class CurlTransport:
    """libcurl makes the calls, several at once in one thread; those that fail boto3 makes again."""

    def __init__(self, sdk: Sdk) -> None:
        self._sdk = sdk
        self._credentials = sdk.credentials
        self._recorder = TemplateRecorder(sdk.client)
        self._ca_bundle = sdk.ca_bundle
        # The sessions that no thread uses.
        self._free: deque[CurlSession] = deque()
        self._libcurl_works = False
        # How many calls libcurl did not make, by HTTP's status, libcurl's error code (CURLcode) or the SDK's error.
        self.left_to_boto3: Counter[str] = Counter()

    def call_many(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | CallError]:
        """Calls the operation with each request, all at once; the response, or the error, of each in their order."""
        responses = self._by_libcurl(operation, requests)
        problems = {place: response for place, response in enumerate(responses) if isinstance(response, str)}
        self.left_to_boto3.update(filter(None, problems.values()))
        by_boto3 = iter(self._by_boto3(operation, [requests[place] for place in problems]))
        return [next(by_boto3) if isinstance(response, str) else response for response in responses]

    def _by_boto3(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | CallError]:
        """The first alone: where it fails, the others would, each after the SDK's retries, which share one quota."""
        if not requests:
            return []
        first = self._sdk.call(operation, requests[0])
        if isinstance(first, CALL_ERRORS) and not is_about_the_request(first):
            return [first] * len(requests)
        with ThreadPoolExecutor(len(requests), thread_name_prefix="boto3") as threads:
            return [first, *threads.map(lambda request: self._sdk.call(operation, request), requests[1:])]

    def _by_libcurl(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | str]:
        """The responses; in place of one that is left to boto3 the code of what went wrong, empty where nothing did."""
        template = self._recorder.template
        if template is None or operation.name not in BY_LIBCURL:
            return [""] * len(requests)
        if not self._libcurl_works and self.left_to_boto3.total() >= MAX_FAILURES:
            return ["not tried"] * len(requests)
        try:
            credentials = self._credentials.get_frozen_credentials() if self._credentials else None
        except (*CALL_ERRORS, ValueError) as error:  # their refresh failed: boto3 says why
            return [type(error).__name__] * len(requests)
        call = Call(template, operation.name, credentials)
        try:
            with self._session() as session:
                responses = session.send(call, [msgspec.json.encode(request) for request in requests])
        except pycurl.error as error:
            return [f"libcurl {error.args[0]}"] * len(requests)
        return [self._decode(operation, response) for response in responses]

    def _decode(self, operation: Operation[Response], response: bytes | str) -> Response | str:
        if isinstance(response, str):
            return response
        try:
            decoded = msgspec.json.decode(response, type=operation.response, strict=False)
        except msgspec.DecodeError:
            return "not JSON"
        self._libcurl_works = True
        return decoded

    @contextmanager
    def _session(self) -> Iterator["CurlSession"]:
        """The one used last, whose connections are the least likely to be closed; not used again after an error."""
        try:
            session = self._free.pop()
        except IndexError:
            session = CurlSession(self._sdk.read_timeout, self._ca_bundle)
        yield session
        self._free.append(session)


class CurlSession:
    """Calls that one thread makes at once. Their connections stay open for the next ones.

    `read_timeout` is in seconds; `ca_bundle` is the file of the authorities to trust, and None trusts any server.
    """

    def __init__(self, read_timeout: int, ca_bundle: str | None) -> None:
        self._read_timeout = read_timeout
        self._ca_bundle = ca_bundle
        self._multi = pycurl.CurlMulti()
        self._handles: list[pycurl.Curl] = []
        self._prepared_for: Call | None = None

    def send(self, call: Call, bodies: Sequence[bytes]) -> list[bytes | str]:
        """Makes a call with each body; in their order the content of a good response, or a code of what went wrong.

        Raises:
            pycurl.error: libcurl refuses an option.
        """
        handles = self._prepared(call, len(bodies))
        responses = [BytesIO() for _ in bodies]
        for handle, body, response in zip(handles, bodies, responses, strict=True):
            handle.setopt(pycurl.POSTFIELDS, body)
            handle.setopt(pycurl.WRITEDATA, response)
            self._multi.add_handle(handle)
        errors = self._until_all_are_answered(len(handles))
        for handle in handles:
            self._multi.remove_handle(handle)
        problems = [errors.get(handle) or _problem(handle) for handle in handles]
        return [problem or response.getvalue() for problem, response in zip(problems, responses, strict=True)]

    def _until_all_are_answered(self, calls: int) -> dict[pycurl.Curl, str]:
        """The codes of the calls that libcurl could not make."""
        errors: dict[pycurl.Curl, str] = {}
        while calls:
            self._multi.perform()
            _, good, bad = self._multi.info_read(calls)
            errors.update({handle: f"libcurl {code}" for handle, code, _ in bad})
            calls -= len(good) + len(bad)
            if calls and not (good or bad) and self._multi.select(POLL_SECONDS) == NOTHING_TO_WAIT_FOR:
                time.sleep(PAUSE_SECONDS)
        return errors

    def _prepared(self, call: Call, handles: int) -> list[pycurl.Curl]:
        new = [_new_handle(self._read_timeout, self._ca_bundle) for _ in range(len(self._handles), handles)]
        for handle in new if call == self._prepared_for else [*self._handles, *new]:
            _prepare(handle, call)
        self._handles += new
        self._prepared_for = call
        return self._handles[:handles]


def _new_handle(read_timeout: int, ca_bundle: str | None) -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)  # libcurl's own signals would end other threads' calls
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # SQS speaks nothing newer
    handle.setopt(pycurl.TCP_KEEPALIVE, 1)
    handle.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
    handle.setopt(pycurl.LOW_SPEED_LIMIT, MIN_BYTES_PER_SECOND)
    handle.setopt(pycurl.LOW_SPEED_TIME, read_timeout)
    handle.setopt(pycurl.NOPROXY, "")  # the template's proxy is right: libcurl has rules of its own
    if ca_bundle is None:
        handle.setopt(pycurl.SSL_VERIFYPEER, 0)
        handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    else:
        handle.setopt(pycurl.CAINFO, ca_bundle)
    return handle


def _problem(handle: pycurl.Curl) -> str:
    status = handle.getinfo(pycurl.RESPONSE_CODE)
    return "" if status == OK else f"HTTP {status}"


def _prepare(handle: pycurl.Curl, call: Call) -> None:
    """Has libcurl sign what it sends. Source: AWS Signature Version 4; libcurl, CURLOPT_AWS_SIGV4."""
    template, operation, credentials = call
    headers = [*template.headers, f"X-Amz-Target: {SERVICE}.{operation}", *NOT_BOTO3_S]
    if credentials is not None:
        handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{template.region}:{template.service}")
        handle.setopt(pycurl.USERNAME, credentials.access_key)
        handle.setopt(pycurl.PASSWORD, credentials.secret_key)
        if credentials.token:
            headers.append(f"X-Amz-Security-Token: {credentials.token}")
    handle.setopt(pycurl.URL, template.url)
    handle.setopt(pycurl.PROXY, template.proxy)
    handle.setopt(pycurl.HTTPHEADER, headers)
