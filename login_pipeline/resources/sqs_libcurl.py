"""SQS's busiest calls at a fraction of what they cost with boto3: libcurl signs and sends them.

boto3 makes the first call, and libcurl the others on its pattern (sqs_pattern.py). A call that is not answered with
200, for whatever reason, is made again by boto3: endpoint, region, credentials, retries, backoff and errors are the
SDK's own, and only what goes well is made cheap.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pycurl

from login_pipeline.resources.libcurl import Call, Connection, Handles
from login_pipeline.resources.sqs_messages import Answer
from login_pipeline.resources.sqs_pattern import LastCall

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_sqs import SQSClient

OK = 200

BatchAnswer = dict[str, Any]
Request = Mapping[str, Any]
Decoded = TypeVar("Decoded")


class LibcurlSqs:
    """The calls that a run makes by the thousand, under boto3's names, with its arguments and errors.

    Their answers are boto3's, too, less what it says of the HTTP response, but for those of ReceiveMessage.
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
        answer = self._send("ReceiveMessage", request, Answer.from_json)
        return Answer.from_boto3(self._client.receive_message(**request)) if answer is None else answer

    def delete_message_batch(self, **request: Any) -> Mapping[str, Any]:
        """DeleteMessageBatch."""
        answer = self._send("DeleteMessageBatch", request, _batch)
        return self._client.delete_message_batch(**request) if answer is None else answer

    def change_message_visibility_batch(self, **request: Any) -> Mapping[str, Any]:
        """ChangeMessageVisibilityBatch."""
        answer = self._send("ChangeMessageVisibilityBatch", request, _batch)
        return self._client.change_message_visibility_batch(**request) if answer is None else answer

    def _send(self, operation: str, request: Request, decode: Callable[[bytes], Decoded]) -> Decoded | None:
        """The answer; None where there is no pattern yet, no answer, or not a good one."""
        pattern = self._last_call.pattern
        if pattern is None:
            return None
        call = Call(pattern, operation, self._credentials.get_frozen_credentials() if self._credentials else None)
        try:
            handle = self._handles.take(call)
            handle.setopt(pycurl.POSTFIELDS, msgspec.json.encode(request))
            answer = handle.perform_rb()
            status = handle.getinfo(pycurl.RESPONSE_CODE)
            self._handles.put_back(call, handle)
            if status == OK:
                return decode(answer)
            self.failures[f"HTTP {status}"] += 1
        except msgspec.DecodeError:
            self.failures["not JSON"] += 1
        except pycurl.error as error:
            self.failures[f"libcurl {error.args[0]}"] += 1
        return None


def _batch(answer: bytes) -> BatchAnswer:
    return msgspec.json.decode(answer, type=BatchAnswer)
