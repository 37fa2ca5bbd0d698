"""The heap and the line of the benchmarks' queue against a plain list of messages, over random histories."""

import random
from dataclasses import dataclass

import pytest

from login_pipeline_tests.sqs_server.messages import Message
from login_pipeline_tests.sqs_server.queue import Queue
from login_pipeline_tests.sqs_server.receipt_handles import ReceiptHandles

MAX_IN_FLIGHT = 40


@dataclass
class Listed:
    """A message in the plain list."""

    number: int
    visible_at: int
    received: bool = False
    handle: str = ""

    def is_in_flight(self, now: int) -> bool:
        return self.received and self.visible_at > now


def empty_queue() -> Queue:
    return Queue("logins", "arn", ReceiptHandles(random.Random(1)), MAX_IN_FLIGHT)  # noqa: S311 - no secrets


def handle_of(queue: Queue, message: Message) -> str:
    return (queue.handles.form % (message.number, message.receive_count)).decode()


@pytest.mark.parametrize("seed", range(5))
def test_queue_does_as_a_plain_list_of_messages(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - no secrets
    queue, now = empty_queue(), 1_000_000
    listed: dict[int, Listed] = {}
    handles = ["no-such-handle"]
    for number in range(1, 3_000):
        now += source.choice((0, 0, 1, 500, 3_000))
        act = source.choice(("send", "receive", "delete", "hide"))
        if act == "send":
            hidden_until = now + source.choice((0, 0, 2_000))
            queue.put(Message(number, b"", now), hidden_until=hidden_until, now=now)
            listed[number] = Listed(number, hidden_until)
        elif act == "receive":
            timeout = source.choice((0, 1, 2, 60))
            room = MAX_IN_FLIGHT - sum(each.is_in_flight(now) for each in listed.values())
            visible = {each.number for each in listed.values() if each.visible_at <= now}
            messages = queue.receive(10, timeout, now)
            assert len(messages) == min(10, room, len(visible))
            assert {message.number for message in messages} <= visible
            for message in messages:
                handle = handle_of(queue, message)
                handles.append(handle)
                listed[message.number] = Listed(message.number, now + timeout * 1000, True, handle)
        else:
            handle = source.choice(handles[-30:])
            message_of = next((each for each in listed.values() if each.handle == handle), None)
            if act == "delete" and handle != "no-such-handle":
                queue.delete(handle)
                if message_of:
                    del listed[message_of.number]
            elif act == "hide" and message_of and message_of.is_in_flight(now):
                timeout = source.choice((0, 1, 600))
                queue.hide(handle, timeout, now)
                message_of.visible_at = now + timeout * 1000
        queue.show_due(now)
        in_flight = sum(each.is_in_flight(now) for each in listed.values())
        visible_now = sum(each.visible_at <= now for each in listed.values())
        assert (queue.visible, queue.in_flight) == (visible_now, in_flight)
        assert queue.delayed == len(listed) - visible_now - in_flight
        due = min((each.visible_at for each in listed.values() if each.visible_at > now), default=None)
        assert queue.next_due() == due


def test_deleted_messages_do_not_pile_up_until_their_visibility_timeout() -> None:
    queue = empty_queue()
    waiting = range(20)
    for hours in waiting:
        queue.put(Message(hours, b"", 0))
        queue.receive(1, hours * 3600 + 1, 0)
    for number in range(20, 10_000):
        queue.put(Message(number, b"", 0))
        (message,) = queue.receive(1, 43_200, 0)
        queue.delete(handle_of(queue, message))
    assert len(queue._hidden) < 2_000
    for hours in waiting:
        due = hours * 3_600_000 + 1_000
        assert queue.receive(10, 86_400, due - 1) == []
        assert [message.number for message in queue.receive(10, 86_400, due)] == [hours]
