"""Errors as SQS gives them in the AWS JSON protocol.

The client's SDK takes an error's name from the header x-amzn-query-error, which has that of the older query protocol.
Source: Amazon SQS Developer Guide, "Interpreting Amazon SQS JSON API responses"; the codes: API Reference, Errors.
"""

from typing import NamedTuple

import msgspec


class ErrorForm(NamedTuple):
    """What an error is called in the answer's content and in its header, and its HTTP status."""

    type: str
    query_code: str
    status: int = 400


def _of_sqs(name: str, query_code: str | None = None, status: int = 400) -> ErrorForm:
    return ErrorForm(f"com.amazonaws.sqs#{name}", query_code or f"AWS.SimpleQueueService.{name}", status)


def _of_the_framework(name: str, query_code: str, status: int = 400) -> ErrorForm:
    return ErrorForm(f"com.amazon.coral.service#{name}", query_code, status)


FORMS = {
    "BatchEntryIdsNotDistinct": _of_sqs("BatchEntryIdsNotDistinct"),
    "BatchRequestTooLong": _of_sqs("BatchRequestTooLong"),
    "EmptyBatchRequest": _of_sqs("EmptyBatchRequest"),
    "InvalidAction": _of_the_framework("UnknownOperationException", "InvalidAction"),
    "InvalidAttributeName": _of_sqs("InvalidAttributeName", "InvalidAttributeName"),
    "InvalidAttributeValue": _of_sqs("InvalidAttributeValue", "InvalidAttributeValue"),
    "InvalidBatchEntryId": _of_sqs("InvalidBatchEntryId"),
    "InvalidMessageContents": _of_sqs("InvalidMessageContents", "InvalidMessageContents"),
    "InvalidParameterValue": _of_the_framework("InvalidParameterValueException", "InvalidParameterValue"),
    "MalformedInput": _of_the_framework("SerializationException", "MalformedInput"),
    "MessageNotInflight": _of_sqs("MessageNotInflight"),
    "MissingAuthenticationToken": _of_the_framework(
        "MissingAuthenticationTokenException", "MissingAuthenticationToken", 403
    ),
    "MissingParameter": _of_the_framework("MissingRequiredParameterException", "MissingParameter"),
    "OverLimit": _of_sqs("OverLimit", "OverLimit", 403),
    "QueueDoesNotExist": _of_sqs("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"),
    "QueueNameExists": _of_sqs("QueueNameExists", "QueueAlreadyExists"),
    "ReceiptHandleIsInvalid": _of_sqs("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
    "TooManyEntriesInBatchRequest": _of_sqs("TooManyEntriesInBatchRequest"),
    "UnsupportedOperation": _of_sqs("UnsupportedOperation"),
}


class SqsError(Exception):
    """A call, or an entry of a batch, that SQS refuses; always the sender's fault."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.form = FORMS[name]

    @property
    def content(self) -> bytes:
        """The content of the answer."""
        return msgspec.json.encode({"__type": self.form.type, "message": str(self)})

    def entry(self, ident: str) -> dict[str, object]:
        """As one of a batch's failed entries."""
        return {"Id": ident, "SenderFault": True, "Code": self.form.query_code, "Message": str(self)}


def invalid_value(parameter: str, value: object, reason: str) -> SqsError:
    """The error for a parameter whose value is none that it can have."""
    return SqsError("InvalidParameterValue", f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")
