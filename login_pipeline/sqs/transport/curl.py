"""SQS's busiest calls at a fraction of what they cost with boto3: libcurl signs and sends them.

boto3 makes the first call, and libcurl the others by the template that it leaves (request_template.py). A call that is
not answered with 200, for any reason, boto3 makes again: endpoint, region, credentials, retries, backoff and
errors are the SDK's own, and only what goes well is made cheap.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pycurl

from login_pipeline.sqs.transport.client import (
    CALL_ERRORS,
    CHANGE_VISIBILITY,
    DELETE,
    RECEIVE,
    CallError,
    Operation,
    Request,
    Response,
    Sdk,
    is_about_the_request,
)
from login_pipeline.sqs.transport.curl_session import Call, ConnectionOptions, CurlSessions, HttpResponse
from login_pipeline.sqs.transport.request_template import TemplateRecorder

# Those that a run makes by the thousand. What a message says of itself is base64 in a SendMessageBatch.
BY_LIBCURL = {RECEIVE.name, DELETE.name, CHANGE_VISIBILITY.name}
# Failed calls before a good one after which libcurl makes no more: it cannot work here, and each may be a time-out.
MAX_FAILURES = 10


class CurlTransport:
    """libcurl makes the calls, several at once in one thread; those that fail boto3 makes again."""

    def __init__(self, sdk: Sdk) -> None:
        self._sdk = sdk
        self._credentials = sdk.credentials
        self._recorder = TemplateRecorder(sdk.client)
        self._sessions = CurlSessions(ConnectionOptions(sdk.connect_timeout, sdk.read_timeout, sdk.ca_bundle))
        self._libcurl_works = False
        # How many calls libcurl did not make, by HTTP's status, libcurl's error code (CURLcode) or the SDK's error.
        self.left_to_boto3: Counter[str] = Counter()

    def call_many(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | CallError]:
        """Calls the operation with each request, all at once; the response, or the error, of each in their order."""
        responses = self._by_libcurl(operation, requests)
        left = [place for place, response in enumerate(responses) if response is None]
        by_boto3 = dict(zip(left, self._by_boto3(operation, [requests[place] for place in left]), strict=True))
        return [by_boto3[place] if response is None else response for place, response in enumerate(responses)]

    def _by_boto3(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | CallError]:
        """The first alone: where it fails, the others would, each after the SDK's retries, which share one quota."""
        if not requests:
            return []
        first = self._sdk.call(operation, requests[0])
        if isinstance(first, CALL_ERRORS) and not is_about_the_request(first):
            return [first] * len(requests)
        with ThreadPoolExecutor(len(requests), thread_name_prefix="boto3") as threads:
            return [first, *threads.map(lambda request: self._sdk.call(operation, request), requests[1:])]

    def _by_libcurl(self, operation: Operation[Response], requests: Sequence[Request]) -> Sequence[Response | None]:
        template = self._recorder.template
        if template is None or operation.name not in BY_LIBCURL:
            return [None] * len(requests)
        if not self._libcurl_works and self.left_to_boto3.total() >= MAX_FAILURES:
            return self._all_failed("not tried", requests)
        try:
            credentials = self._credentials.get_frozen_credentials() if self._credentials else None
        except (*CALL_ERRORS, ValueError) as error:  # their refresh failed: boto3 says why
            return self._all_failed(type(error).__name__, requests)
        call = Call(template, operation.name, credentials)
        try:
            with self._sessions.lend() as session:
                responses = session.send(call, [msgspec.json.encode(request) for request in requests])
        except pycurl.error as error:
            return self._all_failed(f"libcurl {error.args[0]}", requests)
        return [self._decode(operation, response) for response in responses]

    def _all_failed(self, problem: str, requests: Sequence[Request]) -> list[None]:
        self.left_to_boto3[problem] += len(requests)
        return [None] * len(requests)

    def _decode(self, operation: Operation[Response], response: HttpResponse) -> Response | None:
        problem = response.problem
        if problem is None:
            try:
                decoded = msgspec.json.decode(response.body, type=operation.response, strict=False)
            except msgspec.DecodeError:
                problem = "not JSON"
            else:
                self._libcurl_works = True
                return decoded
        self.left_to_boto3[problem] += 1
        return None
