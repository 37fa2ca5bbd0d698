"""Answers a call: which operation it is, what it is asked, its answer or its error, and whether it has to wait."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from login_pipeline_tests.sqs_server import handling, queues, receiving, requests, sending
from login_pipeline_tests.sqs_server.account import Account
from login_pipeline_tests.sqs_server.errors import SqsError
from login_pipeline_tests.sqs_server.long_polls import LongPolls
from login_pipeline_tests.sqs_server.receiving import Poll

Reply = Callable[[bytes], None]
# Called when nobody waits for the answer any more.
GiveUp = Callable[[], None]


class Operation(NamedTuple):
    """How one operation's requests are read, and what answers them."""

    decode: Callable[[bytes], Any]
    perform: Callable[[Account, Any], bytes | Poll]


def _operation(perform: Callable[[Account, Any], bytes | Poll], request: type[msgspec.Struct]) -> Operation:
    return Operation(msgspec.json.Decoder(request).decode, perform)


OPERATIONS = {
    "ReceiveMessage": _operation(receiving.receive, requests.ReceiveMessage),
    "DeleteMessageBatch": _operation(handling.delete_message_batch, requests.DeleteMessageBatch),
    "DeleteMessage": _operation(handling.delete_message, requests.DeleteMessage),
    "ChangeMessageVisibility": _operation(handling.change_message_visibility, requests.ChangeMessageVisibility),
    "ChangeMessageVisibilityBatch": _operation(
        handling.change_message_visibility_batch, requests.ChangeMessageVisibilityBatch
    ),
    "SendMessage": _operation(sending.send_message, requests.SendMessage),
    "SendMessageBatch": _operation(sending.send_message_batch, requests.SendMessageBatch),
    "CreateQueue": _operation(queues.create_queue, requests.CreateQueue),
    "GetQueueUrl": _operation(queues.get_queue_url, requests.GetQueueUrl),
    "DeleteQueue": _operation(queues.delete_queue, requests.OfQueue),
    "PurgeQueue": _operation(queues.purge_queue, requests.OfQueue),
    "GetQueueAttributes": _operation(queues.get_queue_attributes, requests.GetQueueAttributes),
    "SetQueueAttributes": _operation(queues.set_queue_attributes, requests.SetQueueAttributes),
}


class Service:
    """The operations on one account's queues."""

    def __init__(self, account: Account) -> None:
        self.account = account
        # By operation, those that were refused too.
        self.calls: Counter[str] = Counter()
        # By the error's code.
        self.refused: Counter[str] = Counter()
        self._long_polls = LongPolls(account.clock)

    def call(self, name: str, content: bytes, reply: Reply) -> GiveUp | None:
        """Performs a call and replies: at once, or, where a long poll has to wait, later.

        Returns:
            What gives up waiting; None where it has replied.

        Raises:
            SqsError: SQS refuses the call.
        """
        operation = OPERATIONS.get(name)
        self.calls[name if operation else "InvalidAction"] += 1
        try:
            if operation is None:
                raise SqsError("InvalidAction", f"The action {name} is not valid for this endpoint.")
            answer = operation.perform(self.account, _decoded(operation, content))
        except SqsError as error:
            self.refused[error.form.query_code] += 1
            raise
        if self._long_polls:  # a receive can move messages too: to the dead-letter queue
            self._long_polls.wake()
        if isinstance(answer, Poll):
            return self._long_polls.wait(answer, reply)
        reply(answer)
        return None


def _decoded(operation: Operation, content: bytes) -> Any:
    try:
        return operation.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SqsError("MalformedInput", str(error)) from None
