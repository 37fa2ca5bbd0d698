"""What is opened, to what, and what only resembles an envelope."""

import base64
import json
import tracemalloc
from collections.abc import Callable

import pytest

from login_pipeline.logins.reasons import Reason
from login_pipeline.settings import Envelope
from login_pipeline.sqs.envelope import MAX_INFLATED, open_envelopes
from login_pipeline_tests.bodies import valid
from login_pipeline_tests.envelopes import SNS_MESSAGE_ID as ID
from login_pipeline_tests.envelopes import base64_of, event, fifo_notification, gzip_of, notification

LOGIN = valid(user_id='"ü" \\ \u2028')
MIB = 1024 * 1024

Wrap = Callable[[str], str]


def opened(body: str, encoding: str = "", envelope: Envelope = Envelope.AUTO) -> tuple[str, str]:
    return open_envelopes(body, encoding, envelope)


def encoded_notification(message: str, encoding: str) -> str:
    attributes = {"Content-Encoding": {"Type": "String", "Value": encoding}}
    return notification(message, MessageAttributes=attributes)


@pytest.mark.parametrize(
    "body",
    [
        notification(LOGIN),
        notification(LOGIN, Subject="a login", SignatureVersion="2"),
        notification(LOGIN, MessageAttributes={"tags": {"Type": "String.Array", "Value": '["a"]'}}),
        fifo_notification(LOGIN),
        notification(event(LOGIN)),
        encoded_notification(base64_of(LOGIN), "base64"),
        encoded_notification(gzip_of(LOGIN), "gzip"),
        json.dumps(json.loads(notification(LOGIN))),
    ],
)
def test_notification_of_sns_is_opened_and_gives_its_message_id(body: str) -> None:
    assert opened(body) == (LOGIN, ID)


@pytest.mark.parametrize("body", [event(LOGIN), event(LOGIN, replay_name="again"), event(LOGIN, resources=[])])
def test_event_of_eventbridge_is_opened_to_its_detail_exactly_as_it_was_sent(body: str) -> None:
    assert opened(body) == (LOGIN, "")


def test_attribute_of_the_message_says_how_the_body_is_encoded_and_nothing_else_does() -> None:
    assert opened(base64_of(LOGIN), "base64") == opened(gzip_of(LOGIN), "gzip") == (LOGIN, "")
    assert opened(base64_of(LOGIN))[0] == base64_of(LOGIN)
    assert opened(gzip_of(LOGIN))[0] == gzip_of(LOGIN)
    assert opened(LOGIN, "utf-8") == opened(LOGIN, "GZIP") == (LOGIN, "")
    # The body of an SNS notification is SNS's: its own attributes say how the message is encoded.
    assert opened(notification(LOGIN), "gzip") == (LOGIN, ID)


NOTIFICATION, EVENT = json.loads(notification(LOGIN)), json.loads(event(LOGIN))
OTHER_TYPES: list[object] = [None, 1, True, [], {}, ["a"]]
WRONG: dict[str, list[object]] = {
    "Type": ["SubscriptionConfirmation", "notification"],
    "MessageId": ["", "the-first-id", ID.upper(), f"{ID}\n", f" {ID}", "203.0.113.77"],
    "TopicArn": ["", "logins", " arn:aws:sns"],
    "Timestamp": ["", "yesterday", "2026-03-29", "2026-03-29T05:12:16"],
    "SignatureVersion": ["", "3", 1],
    "version": ["1", 0],
    "id": ["", "x", ID.upper(), f"{ID}\n"],
    "account": ["", "1", "1111222233334", "111122223333\n"],
    "time": ["", "2026-12-22"],
    "resources": [[1], [None], "a"],
}
RESEMBLING = [
    *(
        json.dumps({**envelope, name: value})
        for envelope in (NOTIFICATION, EVENT)
        for name in envelope
        if name != "detail"
        for value in [*(each for each in OTHER_TYPES if name != "resources"), *WRONG.get(name, [])]
    ),
    *(
        json.dumps({key: value for key, value in envelope.items() if key != name})
        for envelope in (NOTIFICATION, EVENT)
        for name in envelope
    ),
    *(json.dumps({**envelope, "more": "x"}) for envelope in (NOTIFICATION, EVENT)),
    *(json.dumps([envelope]) for envelope in (NOTIFICATION, EVENT)),
    # Twice the same key, where the last one would win.
    notification(LOGIN).replace('"Type"', '"Message" : "{}",\n  "Type"'),
    event(LOGIN).replace('"version"', '"detail":{},"version"'),
    event('{"a": 1, "a": 1}'),
    # An unsigned one of a standard topic, and a signed one of a FIFO topic.
    fifo_notification(LOGIN, SequenceNumber=...),
    notification(LOGIN, SequenceNumber="10000000000000003000"),
    notification(LOGIN, SequenceNumber=1),
    notification(LOGIN, MessageAttributes={"a": {"Type": "String"}}),
    notification(LOGIN, MessageAttributes={"a": {"Type": "String", "Value": "x", "more": "x"}}),
    notification(LOGIN, Subject=None),
    event(LOGIN, replay_name=None),
    # As a subscription of Lambda has it.
    json.dumps({"Records": [{"EventSource": "aws:sns", "Sns": NOTIFICATION}]}),
    # Not JSON.
    notification(LOGIN)[:-1],
    notification(LOGIN) + "x",
    event("NaN"),
    event("{"),
    event("[" * 100_000),
    event("[" * 100_000 + "]" * 100_000),
    event("9" * 5_000),
    notification(LOGIN).replace("arn:", "\\ud800arn:"),
    "\udc80" + notification(LOGIN),
]


@pytest.mark.parametrize("body", RESEMBLING, ids=lambda body: ascii(body)[:40])
def test_what_only_resembles_an_envelope_is_not_opened(body: str) -> None:
    assert opened(body) == (body, "")


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (notification(notification(LOGIN)), notification(LOGIN)),
        (event(event(LOGIN)), event(LOGIN)),
        (event(notification(LOGIN)), notification(LOGIN)),
        (encoded_notification(base64_of(base64_of(LOGIN)), "base64"), base64_of(LOGIN)),
        (event(json.dumps(base64_of(LOGIN))), json.dumps(base64_of(LOGIN))),
    ],
)
def test_each_kind_is_opened_once_and_sns_is_the_outer_one(body: str, left: str) -> None:
    assert opened(body)[0] == left


@pytest.mark.parametrize(
    ("envelope", "contents"),
    [
        (Envelope.AUTO, [LOGIN, LOGIN, LOGIN, LOGIN, LOGIN]),
        (Envelope.SNS, [LOGIN, LOGIN, event(LOGIN), event(LOGIN), LOGIN]),
        (Envelope.EVENTBRIDGE, [LOGIN, notification(LOGIN), None, LOGIN, LOGIN]),
        (Envelope.NONE, [LOGIN, notification(LOGIN), None, event(LOGIN), gzip_of(LOGIN)]),
    ],
)
def test_setting_says_which_are_opened(envelope: Envelope, contents: list[str | None]) -> None:
    both = notification(event(LOGIN))
    bodies = [(LOGIN, ""), (notification(LOGIN), ""), (both, ""), (event(LOGIN), "")]
    for (body, encoding), content in zip([*bodies, (gzip_of(LOGIN), "gzip")], contents, strict=True):
        assert opened(body, encoding, envelope)[0] == (content or both)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((text, encoding) for text in (LOGIN, "ü", "e30", "e30=\n", "e3-_") for encoding in ("base64", "gzip")),
        (base64_of(b"\xff"), "base64"),
        (base64_of(LOGIN), "gzip"),
        (base64_of("\x1f\x8b"), "gzip"),
        (gzip_of(LOGIN)[:-8], "gzip"),
        (base64_of(b"\x1f\x8b" + b"\x00" * 40), "gzip"),
    ],
)
def test_encoding_that_is_not_what_the_attribute_says_is_the_reason(text: str, encoding: str) -> None:
    assert opened(text, encoding) == (Reason.BAD_ENCODING, "")
    assert opened(encoded_notification(text, encoding)) == (Reason.BAD_ENCODING, ID)


def test_gzip_with_something_behind_it_is_no_gzip() -> None:
    member = base64.b64decode(gzip_of(LOGIN))
    for behind in (b"x", member):
        assert opened(base64_of(member + behind), "gzip")[0] is Reason.BAD_ENCODING


def test_what_is_inflated_is_bounded_and_a_bomb_is_rejected_before_it_takes_memory() -> None:
    assert opened(gzip_of("x" * MAX_INFLATED), "gzip")[0] == "x" * MAX_INFLATED
    assert opened(gzip_of("x" * (MAX_INFLATED + 1)), "gzip")[0] is Reason.TOO_LARGE
    bomb = gzip_of("\0" * (180 * MIB))
    assert len(bomb) < MAX_INFLATED
    for body, encoding in ((bomb, "gzip"), (encoded_notification(bomb, "gzip"), "")):
        tracemalloc.start()
        try:
            assert opened(body, encoding)[0] is Reason.TOO_LARGE
            assert tracemalloc.get_traced_memory()[1] < 3 * MIB
        finally:
            tracemalloc.stop()
