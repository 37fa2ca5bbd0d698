"""What SQS, or the way to it, does to a call: the faults that sqs_proxy.py can be given."""

import threading
import time
from collections.abc import Callable
from typing import Any

from login_pipeline_tests.faults.sqs_proxy import Answer, ConnectionCutError, Fault, Forward

Content = dict[str, Any]


def error(status: int, kind: str, query_error: str, message: str) -> Fault:
    """Answers with an error, and passes nothing on."""
    fault = "Receiver" if status >= 500 else "Sender"
    answer = Answer(status, {"__type": kind, "message": message}, f"{query_error};{fault}")
    return lambda _content, _forward: answer


# The form, and NO_SUCH_QUEUE whole: Amazon SQS Developer Guide, "Interpreting Amazon SQS JSON API responses". The names
# RequestThrottled and OverLimit: botocore's model of SQS, which gives no HTTP status. ThrottlingException,
# ServiceUnavailable and ExpiredTokenException with their status: AWS's "Common Errors". AccessDenied with 403: as
# users report it; SQS's own page says AccessDeniedException with 400. No source was found for the other statuses, for
# the namespaces com.amazon.coral.* and for the codes Throttling and ExpiredToken in the header.
THROTTLED = error(400, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled", "Request is throttled.")
RATE_EXCEEDED = error(400, "com.amazon.coral.availability#ThrottlingException", "Throttling", "Rate exceeded")
OVER_LIMIT = error(
    403, "com.amazonaws.sqs#OverLimit", "OverLimit", "Too many messages in flight; the limit of the queue is reached."
)
UNAVAILABLE = error(
    503, "com.amazon.coral.availability#ServiceUnavailableException", "ServiceUnavailable", "Service is unavailable."
)
ACCESS_DENIED = error(
    403,
    "com.amazon.coral.service#AccessDeniedException",
    "AccessDenied",
    "User: arn:aws:iam::123456789012:user/loader is not authorized to perform this action because no identity-based "
    "policy allows it",
)
EXPIRED_TOKEN = error(
    403,
    "com.amazon.coral.service#ExpiredTokenException",
    "ExpiredToken",
    "The security token included in the request is expired",
)
NO_SUCH_QUEUE = error(
    400,
    "com.amazonaws.sqs#QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "The specified queue does not exist.",
)

TOO_LONG = error(
    400,
    "com.amazonaws.sqs#BatchRequestTooLong",
    "AWS.SimpleQueueService.BatchRequestTooLong",
    "Batch requests cannot be longer than 1048576 bytes.",
)


def cut_before(_content: Content, _forward: Forward) -> Answer:
    """The connection ends before the call arrives."""
    raise ConnectionCutError


def cut_after(content: Content, forward: Forward) -> Answer:
    """The call is carried out, and its answer is lost."""
    forward(content)
    raise ConnectionCutError


def after_seconds(seconds: float) -> Fault:
    """Passes the call on late."""

    def wait(content: Content, forward: Forward) -> Answer:
        time.sleep(seconds)
        return forward(content)

    return wait


def with_request(**changes: Any) -> Fault:
    """Passes the call on with other parameters, in each entry where it has entries."""

    def change(content: Content, forward: Forward) -> Answer:
        if "Entries" in content:
            return forward({**content, "Entries": [{**entry, **changes} for entry in content["Entries"]]})
        return forward({**content, **changes})

    return change


# Seconds after which a message that is released must be delivered again at the latest.
SOON = 120


def released_at_once(content: Content, forward: Forward) -> Answer:
    """Makes what is released soon visible at once, so that no test waits. What is released late stays late."""
    entries = [
        {**entry, "VisibilityTimeout": 0 if entry["VisibilityTimeout"] <= SOON else entry["VisibilityTimeout"]}
        for entry in content["Entries"]
    ]
    return forward({**content, "Entries": entries})


def with_answer(change: Callable[[Content], Content]) -> Fault:
    """Passes the call on and changes what the server answers."""
    return lambda content, forward: (answer := forward(content))._replace(content=change(answer.content))


def entry_fails(code: str, *, senders_fault: bool, entries: slice = slice(0, 1)) -> Fault:
    """Passes all entries but some on; for those the answer has a Failed entry, in a call that succeeds."""

    def fail(content: Content, forward: Forward) -> Answer:
        failing = content["Entries"][entries]
        passed = [entry for entry in content["Entries"] if entry not in failing]
        answer = forward({**content, "Entries": passed}) if passed else Answer(200, {"Successful": []})
        failed = [{"Id": entry["Id"], "Code": code, "SenderFault": senders_fault} for entry in failing]
        return answer._replace(content={**answer.content, "Failed": answer.content.get("Failed", []) + failed})

    return fail


def answered(content: Content | bytes) -> Fault:
    """Answers 200 with this, and passes nothing on: a proxy, or a server that lost what it was asked."""
    return lambda _content, _forward: Answer(200, content)


# Answers to a batch call that say nothing of its entries.
UNCONFIRMED = {
    "nothing": answered(b""),
    "an empty object": answered({}),
    "a page": answered(b"<html><body>Please log in</body></html>"),
    "an empty list": answered({"Successful": [], "Failed": []}),
    "no lists": answered({"Successful": None, "Failed": None}),
}


def deleted_and_delivered_again(content: Content, forward: Forward) -> Answer:
    """Answers that the entries are deleted, and leaves them to be received.

    SQS does so when a server that stores a copy was down during the delete. Source: Amazon SQS Developer Guide,
    "Amazon SQS at-least-once delivery". The call must be DeleteMessageBatch.
    """
    return Answer(200, {"Successful": [{"Id": entry["Id"]} for entry in content["Entries"]], "Failed": []})


def twice(content: Content, forward: Forward) -> Answer:
    """Delivers each message twice in one answer; the first copy has a receipt handle that is stale already."""

    def double(answer: Content) -> Content:
        messages = answer.get("Messages", [])
        stale = [{**message, "ReceiptHandle": f"stale-{message['ReceiptHandle']}"} for message in messages]
        return {**answer, "Messages": stale + messages} if messages else answer

    return with_answer(double)(content, forward)


class Some:
    """A fault that answers `times` calls after the `first` ones, and passes the others on."""

    def __init__(self, fault: Fault, *, first: int, times: float) -> None:
        # How many calls it answered.
        self.hits = 0
        self._fault = fault
        self._first = first
        self._times = times
        self._calls = 0
        self._lock = threading.Lock()

    def __call__(self, content: Content, forward: Forward) -> Answer:
        with self._lock:
            hit = self._first <= self._calls < self._first + self._times
            self._calls += 1
            self.hits += hit
        return self._fault(content, forward) if hit else forward(content)


class Hold:
    """A fault that holds calls until they are let go, so that a test knows what a process is at.

    With `after` they are carried out first, and what is held is the answer.
    """

    def __init__(self, *, after: bool = False) -> None:
        # Released once for each call that arrives.
        self.held = threading.Semaphore(0)
        self._after = after
        self._free = threading.Event()

    def __call__(self, content: Content, forward: Forward) -> Answer:
        answer = forward(content) if self._after else None
        self.held.release()
        self._free.wait(60)
        return answer or forward(content)

    def wait(self, calls: int = 1) -> None:
        """Returns when so many calls are held."""
        for _ in range(calls):
            assert self.held.acquire(timeout=60), "no call arrived"

    def let_go(self) -> None:
        """Lets all calls go, and holds no more."""
        self._free.set()
