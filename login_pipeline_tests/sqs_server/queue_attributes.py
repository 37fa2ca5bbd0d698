"""A queue's attributes: which can be set, between which bounds, and what else is told of a queue.

Source: Amazon SQS API Reference, SetQueueAttributes and GetQueueAttributes.
"""

import json
from collections.abc import Callable, Mapping, Sequence

from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value
from login_pipeline_tests.sqs_server.queue import Queue, RedrivePolicy

DAY = 86_400
BOUNDS = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1_048_576),
    "MessageRetentionPeriod": (60, 14 * DAY),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
DEFAULTS = {
    "DelaySeconds": 0,
    "MaximumMessageSize": 1_048_576,
    "MessageRetentionPeriod": 4 * DAY,
    "ReceiveMessageWaitTimeSeconds": 0,
    "VisibilityTimeout": 30,
}
# Taken and told again, and not acted upon.
_KEPT = {"Policy", "RedriveAllowPolicy", "SqsManagedSseEnabled"}
_COUNTS: Mapping[str, Callable[[Queue], int]] = {
    "ApproximateNumberOfMessages": lambda queue: queue.visible,
    "ApproximateNumberOfMessagesNotVisible": lambda queue: queue.in_flight,
    "ApproximateNumberOfMessagesDelayed": lambda queue: queue.delayed,
}


class QueueAttributes:
    """The attributes of one queue."""

    def __init__(self, queue: Queue, created: int) -> None:
        self.numbers = dict(DEFAULTS)
        self._queue = queue
        self._created = self._modified = created
        self._kept = {"SqsManagedSseEnabled": "true"}

    def set(self, attributes: Mapping[str, str], by_arn: Callable[[str], Queue | None], now: int) -> None:
        """Sets them all, or none.

        Raises:
            SqsError: there is none of such a name, or it cannot have such a value.
        """
        numbers = {name: _number(name, value) for name, value in attributes.items() if name in BOUNDS}
        kept = {name: value for name, value in attributes.items() if name in _KEPT}
        if unknown := attributes.keys() - numbers.keys() - kept.keys() - {"RedrivePolicy"}:
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
        if "RedrivePolicy" in attributes:
            policy = _redrive_policy(attributes["RedrivePolicy"], by_arn)
            if policy and policy.dead_letter_queue is self._queue:
                raise invalid_value("RedrivePolicy", attributes["RedrivePolicy"], "A queue is not its own target here.")
            self._queue.redrive_policy = policy
        self.numbers |= numbers
        self._kept |= kept
        self._modified = now

    def get(self, names: Sequence[str]) -> dict[str, str]:
        """Those of these names, where they are set; "All" are all.

        Raises:
            SqsError: there is none of such a name.
        """
        everything = self._everything()
        if "All" in names:
            return everything
        if unknown := set(names) - everything.keys() - _KEPT - {"RedrivePolicy"}:
            raise SqsError("InvalidAttributeName", f"Unknown Attribute {min(unknown)}.")
        return {name: everything[name] for name in names if name in everything}

    def _everything(self) -> dict[str, str]:
        attributes = {
            **{name: str(count(self._queue)) for name, count in _COUNTS.items()},
            **{name: str(number) for name, number in self.numbers.items()},
            **self._kept,
            "QueueArn": self._queue.arn,
            "CreatedTimestamp": str(self._created),
            "LastModifiedTimestamp": str(self._modified),
        }
        if policy := self._queue.redrive_policy:
            attributes["RedrivePolicy"] = json.dumps(
                {"deadLetterTargetArn": policy.dead_letter_queue.arn, "maxReceiveCount": policy.max_receive_count}
            )
        return attributes


def _number(name: str, value: str) -> int:
    least, most = BOUNDS[name]
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise SqsError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
    return int(value)


def _redrive_policy(value: str, by_arn: Callable[[str], Queue | None]) -> RedrivePolicy | None:
    if not value:
        return None
    try:
        policy = json.loads(value)
        target, count = by_arn(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (ValueError, TypeError, KeyError):
        raise SqsError("InvalidAttributeValue", "Invalid value for the parameter RedrivePolicy.") from None
    if target is None:
        raise invalid_value("RedrivePolicy", value, "Dead letter target does not exist.")
    if not 1 <= count <= 1000:
        raise invalid_value("RedrivePolicy", value, "Invalid value for maxReceiveCount.")
    return RedrivePolicy(count, target)
