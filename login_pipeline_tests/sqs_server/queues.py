"""The operations on queues themselves: create, find, describe, change, empty and delete them."""

import time

import msgspec

from login_pipeline_tests.sqs_server.account import Account
from login_pipeline_tests.sqs_server.requests import (
    CreateQueue,
    GetQueueAttributes,
    GetQueueUrl,
    OfQueue,
    SetQueueAttributes,
)

NOTHING = b""


def create_queue(account: Account, request: CreateQueue) -> bytes:
    """Makes a queue where there is none of this name."""
    return _url(account.create(request.queue_name, request.attributes).url)


def get_queue_url(account: Account, request: GetQueueUrl) -> bytes:
    """Tells a queue's URL."""
    return _url(account.by_name(request.queue_name).url)


def delete_queue(account: Account, request: OfQueue) -> bytes:
    """Deletes a queue; its name can be used again at once, other than on Amazon SQS."""
    account.delete(account.by_url(request.queue_url))
    return NOTHING


def purge_queue(account: Account, request: OfQueue) -> bytes:
    """Deletes what is on a queue; as often as it is asked, other than on Amazon SQS."""
    account.by_url(request.queue_url).queue.purge()
    return NOTHING


def get_queue_attributes(account: Account, request: GetQueueAttributes) -> bytes:
    """Tells a queue's attributes, and how many messages there are: other than on Amazon SQS at this very moment."""
    owned = account.by_url(request.queue_url)
    owned.queue.show_due(account.clock.now())
    attributes = owned.attributes.get(request.attribute_names)
    return msgspec.json.encode({"Attributes": attributes} if attributes else {})


def set_queue_attributes(account: Account, request: SetQueueAttributes) -> bytes:
    """Changes a queue's attributes."""
    account.by_url(request.queue_url).attributes.set(request.attributes, account.by_arn, int(time.time()))
    return NOTHING


def _url(url: str) -> bytes:
    return msgspec.json.encode({"QueueUrl": url})
