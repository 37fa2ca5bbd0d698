"""SQS's busiest calls at a fraction of what they cost with boto3: libcurl signs and sends them.

boto3 makes the first call, and libcurl the others on its pattern (sqs_pattern.py). A call that is not answered with
200, for whatever reason, is made again by boto3: endpoint, region, credentials, retries, backoff and errors are the
SDK's own, and only what goes well is made cheap.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import pycurl

from login_pipeline.resources.libcurl import Connection, Handles
from login_pipeline.resources.sqs_pattern import LastCall, Pattern

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_sqs import SQSClient

OK = 200
NOT_BOTO3_S = ("Accept:", "Expect:")
"""Headers that libcurl would add unasked."""

Answer = Mapping[str, Any]


class LibcurlSqs:
    """The calls that a run makes by the thousand, under boto3's names, with its arguments, answers and errors.

    Answers lack what boto3 says of the HTTP response.
    """

    def __init__(self, client: "SQSClient", credentials: "Credentials | None", connection: Connection) -> None:
        self._client = client
        self._credentials = credentials
        self._last_call = LastCall(client)
        self._handles = Handles(connection)
        self.failures: Counter[str] = Counter()
        """How many calls boto3 made again, by HTTP's status or libcurl's error code (CURLcode)."""

    def receive_message(self, **request: Any) -> Answer:
        """ReceiveMessage."""
        return self._call("ReceiveMessage", self._client.receive_message, request)

    def delete_message_batch(self, **request: Any) -> Answer:
        """DeleteMessageBatch."""
        return self._call("DeleteMessageBatch", self._client.delete_message_batch, request)

    def change_message_visibility_batch(self, **request: Any) -> Answer:
        """ChangeMessageVisibilityBatch."""
        return self._call("ChangeMessageVisibilityBatch", self._client.change_message_visibility_batch, request)

    def _call(self, operation: str, by_boto3: Callable[..., Answer], request: Mapping[str, Any]) -> Answer:
        pattern = self._last_call.pattern
        answer = self._send(pattern, operation, request) if pattern else None
        return by_boto3(**request) if answer is None else answer

    def _send(self, pattern: Pattern, operation: str, request: Mapping[str, Any]) -> Answer | None:
        """The answer; None where there is none, or not a good one."""
        handle = self._handles.take(pattern.url)
        try:
            self._prepare(handle, pattern, operation)
            handle.setopt(pycurl.POSTFIELDS, msgspec.json.encode(request))
            answer = handle.perform_rb()
            status = handle.getinfo(pycurl.RESPONSE_CODE)
            self._handles.put_back(handle)
            if status == OK:
                return msgspec.json.decode(answer, type=dict[str, Any])
            self.failures[f"HTTP {status}"] += 1
        except msgspec.DecodeError:
            self.failures["not JSON"] += 1
        except pycurl.error as error:
            self.failures[f"libcurl {error.args[0]}"] += 1
        return None

    def _prepare(self, handle: pycurl.Curl, pattern: Pattern, operation: str) -> None:
        """Has libcurl sign the call, with credentials that are refreshed when it is time.

        Source: AWS Signature Version 4; libcurl, CURLOPT_AWS_SIGV4.
        """
        handle.setopt(pycurl.URL, pattern.url)
        headers = [*pattern.headers_of(operation), *NOT_BOTO3_S]
        if self._credentials is not None:
            key, secret, token, _ = self._credentials.get_frozen_credentials()
            handle.setopt(pycurl.AWS_SIGV4, f"aws:amz:{pattern.region}:{pattern.service}")
            handle.setopt(pycurl.USERNAME, key)
            handle.setopt(pycurl.PASSWORD, secret)
            if token:
                headers.append(f"X-Amz-Security-Token: {token}")
        handle.setopt(pycurl.HTTPHEADER, headers)
