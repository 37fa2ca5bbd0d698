"""The heap and the line of the tests' queue against a plain list of messages, over random histories."""

import json
import random
from dataclasses import dataclass

import pytest

from login_pipeline_tests.sqs_server.queue import Message, Queue


@dataclass
class Listed:
    """A message in the plain list."""

    number: int
    visible_at: int = 0
    handle: str = ""

    def is_in_flight(self, now: int) -> bool:
        return self.visible_at > now


def handle_of(queue: Queue, message: Message) -> str:
    handle: str = json.loads(queue.describe(message))["ReceiptHandle"]
    return handle


def put(queue: Queue) -> None:
    queue.put(b'{"Body":""', 0)


@pytest.mark.parametrize("seed", range(3))
def test_queue_does_as_a_plain_list_of_messages(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - no secrets
    queue, now = Queue("logins"), 1_000_000
    listed: dict[int, Listed] = {}
    handles = ["no-such-handle"]
    sent = 0
    for _ in range(3_000):
        now += source.choice((0, 0, 1, 500, 3_000))
        act = source.choice(("send", "receive", "delete", "hide"))
        if act == "send":
            put(queue)
            sent += 1
            listed[sent] = Listed(sent)
        elif act == "receive":
            timeout = source.choice((0, 1, 2, 60))
            visible = {each.number for each in listed.values() if each.visible_at <= now}
            messages = queue.receive(10, timeout, now)
            assert len(messages) == min(10, len(visible))
            assert {message.number for message in messages} <= visible
            for message in messages:
                handle = handle_of(queue, message)
                handles.append(handle)
                listed[message.number] = Listed(message.number, now + timeout * 1000, handle)
        else:
            handle = source.choice(handles[-30:])
            message_of = next((each for each in listed.values() if each.handle == handle), None)
            if act == "delete":
                assert queue.delete(handle) == (handle != "no-such-handle")
                if message_of:
                    del listed[message_of.number]
            else:
                timeout = source.choice((0, 1, 600))
                may_be_hidden = message_of is not None and message_of.is_in_flight(now)
                assert queue.hide(handle, timeout, now) == may_be_hidden
                if message_of and may_be_hidden:
                    message_of.visible_at = now + timeout * 1000
        queue.show_due(now)
        in_flight = sum(each.is_in_flight(now) for each in listed.values())
        assert (queue.visible, queue.in_flight) == (len(listed) - in_flight, in_flight)


def test_deleted_messages_do_not_pile_up_until_their_visibility_timeout() -> None:
    queue = Queue("logins")
    waiting = range(20)
    for hours in waiting:
        put(queue)
        queue.receive(1, hours * 3600 + 1, 0)
    for _ in range(10_000):
        put(queue)
        (message,) = queue.receive(1, 43_200, 0)
        queue.delete(handle_of(queue, message))
    assert len(queue._hidden) < 2_000
    for hours in waiting:
        due = hours * 3_600_000 + 1_000
        assert queue.receive(10, 86_400, due - 1) == []
        assert [message.number for message in queue.receive(10, 86_400, due)] == [hours + 1]
