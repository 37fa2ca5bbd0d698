"""What is no login, from a real queue through real runs: moved with its reason, and no good message pays for it.

SQS itself refuses an empty body, one of over 262,144 bytes, and one with characters outside of XML 1.0's (Amazon SQS
API Reference, SendMessage), so nothing here sends them.
"""

import re
import time
from itertools import islice
from random import Random

from login_pipeline_tests.bodies import POISON, valid
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.fuzz.mutations import bodies as mutated_bodies

REASON = re.compile(r"[a-z_]+(\.[a-z_]+)?")
# What SQS takes in a body: XML 1.0's characters.
SENDABLE = re.compile("[\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]+")


def letters(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    """Body and reason of each dead letter, by the id of the message that it was."""
    found: dict[str, tuple[str, str]] = {}
    for letter in pipeline.dead_letter_queue.take_all():
        attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
        assert attributes["original_message_id"] not in found
        assert abs(time.time() - int(attributes["original_sent_timestamp"]) / 1000) < 600
        found[attributes["original_message_id"]] = (letter["Body"], attributes["reason"])
    return found


def test_poison_hidden_among_good_messages_is_moved_and_each_good_one_loads(pipeline: Pipeline) -> None:
    sent: dict[str, tuple[str, str]] = {}
    for number, poison in enumerate(POISON):
        pipeline.queue.send(valid(user_id=f"before-{number}"))
        (message_id,) = pipeline.queue.send(poison.body)
        pipeline.queue.send(valid(user_id=f"after-{number}"))
        sent[message_id] = (poison.body, poison.reason)
    assert pipeline.run().failures == []
    assert pipeline.queue.count() == 0
    assert letters(pipeline) == sent
    good = [f"{place}-{number}" for place in ("before", "after") for number in range(len(POISON))]
    assert sorted(row[0] for row in pipeline.database.logins()) == sorted(good)


def test_every_body_that_sqs_takes_ends_in_exactly_one_place(pipeline: Pipeline) -> None:
    bodies = list(islice(filter(SENDABLE.fullmatch, mutated_bodies(Random(7))), 150))  # noqa: S311 - the same each time
    sent = dict(zip(pipeline.queue.send(*bodies), bodies, strict=True))
    run = pipeline.run()
    assert run.failures == []
    assert pipeline.queue.count() == 0
    moved = letters(pipeline)
    loaded = {message_id for (message_id,) in pipeline.database.query("SELECT message_id FROM user_logins_inbox")}
    assert len(pipeline.database.logins()) == len(loaded) > 0
    assert moved.keys() | loaded == sent.keys()
    assert moved.keys() & loaded == set()
    assert {message_id: body for message_id, (body, _) in moved.items()}.items() <= sent.items()
    assert all(REASON.fullmatch(reason) for _, reason in moved.values())
