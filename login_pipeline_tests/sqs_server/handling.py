"""What is done to messages in flight: DeleteMessage, ChangeMessageVisibility, and both in batches."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from login_pipeline_tests.sqs_server.account import Account, OwnedQueue
from login_pipeline_tests.sqs_server.batches import check_entries
from login_pipeline_tests.sqs_server.errors import SqsError, invalid_value
from login_pipeline_tests.sqs_server.queue_attributes import BOUNDS
from login_pipeline_tests.sqs_server.requests import (
    ChangeMessageVisibility,
    ChangeMessageVisibilityBatch,
    DeleteEntry,
    DeleteMessage,
    DeleteMessageBatch,
    Hidden,
    HideEntry,
)

NOTHING = b""

E = TypeVar("E", DeleteEntry, HideEntry)


def delete_message(account: Account, request: DeleteMessage) -> bytes:
    """Deletes one message."""
    account.by_url(request.queue_url).queue.delete(request.receipt_handle)
    return NOTHING


def delete_message_batch(account: Account, request: DeleteMessageBatch) -> bytes:
    """Deletes each message that can be deleted, and tells which could not."""
    queue = account.by_url(request.queue_url).queue
    check_entries("DeleteMessageBatch", request.entries)
    return _answer(request.entries, lambda entry: queue.delete(entry.receipt_handle))


def change_message_visibility(account: Account, request: ChangeMessageVisibility) -> bytes:
    """Lets one message come back after another time."""
    _hide(account, account.by_url(request.queue_url), request)
    return NOTHING


def change_message_visibility_batch(account: Account, request: ChangeMessageVisibilityBatch) -> bytes:
    """Lets each message come back after another time where that can be, and tells where not."""
    owned = account.by_url(request.queue_url)
    check_entries("ChangeMessageVisibilityBatch", request.entries)
    return _answer(request.entries, lambda entry: _hide(account, owned, entry))


def _answer(entries: Iterable[E], act: Callable[[E], None]) -> bytes:
    successful, failed = [], []
    for entry in entries:
        try:
            act(entry)
            successful.append(b'{"Id":"%b"}' % entry.id.encode())  # an id needs no escapes
        except SqsError as error:
            failed.append(msgspec.json.encode(error.entry(entry.id)))
    return b'{"Failed":[%b],"Successful":[%b]}' % (b",".join(failed), b",".join(successful))


def _hide(account: Account, owned: OwnedQueue, hidden: Hidden) -> None:
    timeout = hidden.visibility_timeout
    if timeout is None:
        raise SqsError("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
    least, longest = BOUNDS["VisibilityTimeout"]
    if not least <= timeout <= longest:
        raise invalid_value("VisibilityTimeout", timeout, f"Must be between {least} and {longest}.")
    owned.queue.hide(hidden.receipt_handle, timeout, account.clock.now())
