"""What holds for every batch operation: how many entries, and what their ids may be."""

import re
from collections.abc import Sequence

from login_pipeline_tests.sqs_server.errors import SqsError
from login_pipeline_tests.sqs_server.requests import Entry

# Source: Amazon SQS API Reference, SendMessageBatch and its likes.
MAX_ENTRIES = 10
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_entries(operation: str, entries: Sequence[Entry]) -> None:
    """Checks a batch before any of it is done.

    Raises:
        SqsError: there are too few or too many entries, or an id is wrong or is there twice.
    """
    if not entries:
        raise SqsError("EmptyBatchRequest", f"There should be at least one {operation}RequestEntry in the request.")
    if len(entries) > MAX_ENTRIES:
        raise SqsError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MAX_ENTRIES}. You have sent {len(entries)}.",
        )
    idents = [entry.id for entry in entries]
    if not all(map(_ID.fullmatch, idents)):
        raise SqsError(
            "InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most "
            "80 letters long.",
        )
    if len(set(idents)) < len(idents):
        raise SqsError("BatchEntryIdsNotDistinct", f"Id {max(idents, key=idents.count)} repeated.")
