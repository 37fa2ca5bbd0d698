"""What is no login, from a real queue through real runs: moved with its reason, and no good message pays for it.

SQS itself refuses an empty body, one of over 262,144 bytes, and one with characters outside of XML 1.0's (Amazon SQS
API Reference, SendMessage), so nothing here sends them.
"""

import json
import re
import time

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from login_pipeline_tests.bodies import FIELDS, POISON, valid
from login_pipeline_tests.conftest import Pipeline

REASON = re.compile(r"[a-z_]+(\.[a-z_]+)?")


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


def test_batch_of_nothing_but_poison_is_moved(pipeline: Pipeline) -> None:
    ids = pipeline.queue.send(*(poison.body for poison in POISON))
    assert pipeline.run().failures == []
    assert pipeline.queue.count() == 0
    assert letters(pipeline) == {
        message_id: (poison.body, poison.reason) for message_id, poison in zip(ids, POISON, strict=True)
    }
    assert pipeline.database.logins() == []


def test_poison_alone_is_moved(pipeline: Pipeline) -> None:
    """One reason will do: each has been in a batch of its kind above."""
    (message_id,) = pipeline.queue.send(POISON[0].body)
    assert pipeline.run().failures == []
    assert letters(pipeline) == {message_id: (POISON[0].body, POISON[0].reason)}
    assert pipeline.database.logins() == []


# What SQS takes in a body.
TEXT = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=10,
)


@st.composite
def with_another_value(draw: st.DrawFn) -> str:
    return valid(**{draw(st.sampled_from(FIELDS)): draw(JSON)})


@st.composite
def with_a_part_overwritten(draw: st.DrawFn) -> str:
    start, length = draw(st.integers(0, len(valid()))), draw(st.integers(0, 20))
    return valid()[:start] + draw(TEXT) + valid()[start + length :]


BODIES = TEXT.filter(bool) | JSON.map(json.dumps) | with_another_value() | with_a_part_overwritten()


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each try takes seconds: too long to shrink a failure
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(bodies=st.lists(BODIES, min_size=40, max_size=80))
def test_every_body_that_sqs_takes_ends_in_exactly_one_place(pipeline: Pipeline, bodies: list[str]) -> None:
    sent = dict(zip(pipeline.queue.send(*bodies), bodies, strict=True))
    run = pipeline.run()
    assert run.failures == []
    assert pipeline.queue.count() == 0
    moved = letters(pipeline)
    loaded = {message_id for (message_id,) in pipeline.database.query("SELECT message_id FROM user_logins_inbox")}
    assert len(pipeline.database.logins()) == len(loaded)
    assert moved.keys() | (loaded & sent.keys()) == sent.keys()
    assert moved.keys() & loaded == set()
    assert {message_id: body for message_id, (body, _) in moved.items()}.items() <= sent.items()
    assert all(REASON.fullmatch(reason) for _, reason in moved.values())
