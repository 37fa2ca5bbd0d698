"""SQS's busiest calls at a fraction of what they cost with boto3: libcurl signs and sends them.

boto3 makes the first call, and libcurl the others on its pattern (request_template.py). A call not answered with
200, for whatever reason, is left to boto3, which makes it again where it is still of use: endpoint, region,
credentials, retries, backoff and errors are the SDK's own, and only what goes well is made cheap.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec
import pycurl
from botocore.exceptions import BotoCoreError, ClientError

from login_pipeline.sqs.message import Answer
from login_pipeline.sqs.transport.curl_session import Bundles, Call, Connection, Response
from login_pipeline.sqs.transport.request_template import LastCall

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_sqs import SQSClient

BatchAnswer = dict[str, Any]
"""What failed and what did not, as boto3 has it."""
Request = Mapping[str, Any]
Decoded = TypeVar("Decoded")


class Timed(NamedTuple, Generic[Decoded]):
    """An answer, and after how many seconds it came."""

    answer: Decoded | None
    seconds: float


class LibcurlSqs:
    """The calls that a run makes by the thousand: several at once, by one thread.

    An answer is None where boto3 is to make the call: before its own first one, and whenever something went wrong.
    """

    CHANGES = ("DeleteMessageBatch", "ChangeMessageVisibilityBatch")
    OPERATIONS = ("ReceiveMessage", *CHANGES)

    def __init__(self, client: "SQSClient", credentials: "Credentials | None", connection: Connection) -> None:
        self._credentials = credentials
        self._last_call = LastCall(client)
        self._bundles = Bundles(connection)
        self.failures: Counter[str] = Counter()
        """How many calls were left to boto3, by HTTP's status, libcurl's error code (CURLcode) or the SDK's error."""

    def receive(self, requests: Sequence[Request]) -> list[Timed[Answer]]:
        """ReceiveMessage, so often."""
        return self._send("ReceiveMessage", requests, Answer.from_json)

    def change(self, operation: str, requests: Sequence[Request]) -> list[Timed[BatchAnswer]]:
        """One of CHANGES, so often."""
        return self._send(operation, requests, _batch_answer)

    def _send(
        self, operation: str, requests: Sequence[Request], decode: Callable[[bytes], Decoded]
    ) -> list[Timed[Decoded]]:
        pattern = self._last_call.pattern
        if pattern is None:
            return [Timed(None, 0.0) for _ in requests]
        try:
            credentials = self._credentials.get_frozen_credentials() if self._credentials else None
        except (BotoCoreError, ClientError, RuntimeError) as error:  # their refresh failed: boto3 says why
            return self._left_to_boto3(type(error).__name__, requests)
        call = Call(pattern, operation, credentials)
        try:
            with self._bundles.one() as bundle:
                responses = bundle.send(call, [msgspec.json.encode(request) for request in requests])
        except pycurl.error as error:
            return self._left_to_boto3(f"libcurl {error.args[0]}", requests)
        return [Timed(self._good(response, decode), response.seconds) for response in responses]

    def _left_to_boto3(self, problem: str, requests: Sequence[Request]) -> list[Timed[Any]]:
        self.failures[problem] += len(requests)
        return [Timed(None, 0.0) for _ in requests]

    def _good(self, response: Response, decode: Callable[[bytes], Decoded]) -> Decoded | None:
        problem = response.problem
        if problem is None:
            try:
                return decode(response.body)
            except msgspec.DecodeError:
                problem = "not JSON"
        self.failures[problem] += 1
        return None


def _batch_answer(answer: bytes) -> BatchAnswer:
    return msgspec.json.decode(answer, type=BatchAnswer)
