"""Logins that come through SNS and EventBridge, from their publication to the row; and what is no login in there."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from login_pipeline.ingest.redrive import redrive
from login_pipeline.settings import read_settings
from login_pipeline_tests.bodies import POISON, Poison, valid
from login_pipeline_tests.conftest import REGION, Pipeline, Queue, ministack
from login_pipeline_tests.defs.test_assets import SENTINELS, stored
from login_pipeline_tests.envelopes import base64_of, event, fifo_notification, gzip_of, notification
from login_pipeline_tests.ingest.test_hostile_messages import LONGEST, attribute

GZIP = {"Content-Encoding": attribute("gzip")}


@dataclass
class Aws:
    """SNS and EventBridge, with the login queue behind them, seen with the plain SDK."""

    endpoint: str
    queue: Queue

    def client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - ministack asks for none
        )

    @property
    def queue_arn(self) -> str:
        attributes = self.queue.client.get_queue_attributes(QueueUrl=self.queue.url, AttributeNames=["QueueArn"])
        return attributes["Attributes"]["QueueArn"]

    def topic(self, **subscription: str) -> str:
        """The ARN of a topic to which the queue is subscribed."""
        sns = self.client("sns")
        arn: str = sns.create_topic(Name=f"logins-{uuid.uuid4()}")["TopicArn"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=self.queue_arn, Attributes=subscription)
        return arn

    def publish(self, topic: str, message: str, **attributes: Any) -> str:
        """SNS's id of the message."""
        published = self.client("sns").publish(TopicArn=topic, Message=message, MessageAttributes=attributes)
        return str(published["MessageId"])

    def put_event(self, target: str, detail: str) -> None:
        """Through a rule that leads to this ARN."""
        events, rule = self.client("events"), f"logins-{uuid.uuid4()}"
        events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
        events.put_targets(Rule=rule, Targets=[{"Id": "logins", "Arn": target}])
        events.put_events(Entries=[{"Source": rule, "DetailType": "login", "Detail": detail}])


@pytest.fixture(scope="module")
def aws_endpoint() -> Iterator[str]:
    with ministack("sqs,sns,events") as endpoint:
        yield endpoint


@pytest.fixture
def aws(pipeline: Pipeline, aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setattr("login_pipeline.sqs.release_delay.RELEASE_DELAY", 0)
    sqs = Aws(aws_endpoint, pipeline.queue).client("sqs")
    queues = [Queue(sqs, sqs.create_queue(QueueName=f"test-{uuid.uuid4()}")["QueueUrl"]) for _ in range(2)]
    pipeline.queue, pipeline.dead_letter_queue = queues
    pipeline.set(
        AWS_ENDPOINT_URL_SQS=aws_endpoint,
        LOGIN_QUEUE_URL=pipeline.queue.url,
        LOGIN_DEAD_LETTER_QUEUE_URL=pipeline.dead_letter_queue.url,
    )
    return Aws(aws_endpoint, pipeline.queue)


def user_ids(pipeline: Pipeline) -> list[str]:
    return sorted(row[0] for row in pipeline.database.logins())


def inbox(pipeline: Pipeline) -> set[str]:
    return {message_id for (message_id,) in pipeline.database.query("SELECT message_id FROM user_logins_inbox")}


def test_login_that_is_published_to_sns_is_a_row_under_sns_s_message_id(pipeline: Pipeline, aws: Aws) -> None:
    topic = aws.topic()
    ids = {
        aws.publish(topic, valid(user_id="plain")),
        aws.publish(topic, base64_of(valid(user_id="in base64")), **{"Content-Encoding": attribute("base64")}),
        aws.publish(topic, gzip_of(valid(user_id="in gzip")), **GZIP, trace=attribute("x")),
    }
    assert pipeline.run().failures == []
    assert user_ids(pipeline) == ["in base64", "in gzip", "plain"]
    assert inbox(pipeline) == ids
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (0, 0)
    assert pipeline.run("user_logins_checks_job").passed


def test_login_by_raw_delivery_is_a_row_also_where_it_is_encoded(pipeline: Pipeline, aws: Aws) -> None:
    topic = aws.topic(RawMessageDelivery="true")
    aws.publish(topic, valid(user_id="plain"))
    aws.publish(topic, gzip_of(valid(user_id="in gzip")), **GZIP)
    assert pipeline.run().failures == []
    assert user_ids(pipeline) == ["in gzip", "plain"]


def test_event_of_eventbridge_is_a_row_also_through_sns(pipeline: Pipeline, aws: Aws) -> None:
    aws.put_event(aws.queue_arn, valid(user_id="event"))
    aws.put_event(aws.topic(), valid(user_id="event through sns"))
    assert pipeline.run().failures == []
    assert user_ids(pipeline) == ["event", "event through sns"]


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_what_sns_sends_twice_is_one_row_and_the_second_is_deleted(
    pipeline: Pipeline, aws: Aws, *, in_one_batch: bool
) -> None:
    message_id = aws.publish(aws.topic(), valid())
    (sent,) = pipeline.queue.take_all()
    for _ in range(2):
        pipeline.queue.send(sent["Body"])
        if not in_one_batch:
            pipeline.run()
    runs = [pipeline.run() for _ in range(2 if in_one_batch else 1)]
    assert [run.failures for run in runs] == [[]] * len(runs)
    assert (len(pipeline.database.logins()), inbox(pipeline)) == (1, {message_id})
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (0, 0)
    assert pipeline.run("user_logins_checks_job").passed


def test_date_is_that_of_sqs_and_not_of_the_envelope(pipeline: Pipeline) -> None:
    envelopes = [notification(valid(), Timestamp="2020-01-01T00:00:00Z"), event(valid(), time="2020-01-01T00:00:00Z")]
    pipeline.queue.send(*envelopes)
    assert pipeline.run().failures == []
    assert [row[-1] for row in pipeline.database.logins()] == [datetime.now(UTC).date()] * 2


def test_dead_letter_has_the_body_as_it_was_received_and_a_redrive_reads_it_again(pipeline: Pipeline, aws: Aws) -> None:
    """As the messages that were moved before envelopes were opened."""
    pipeline.set(LOGIN_ENVELOPE="none")
    topic = aws.topic()
    message_id = aws.publish(topic, valid())
    (sent,) = pipeline.queue.take_all()
    pipeline.queue.send(sent["Body"], sent["Body"])
    assert pipeline.run().metadata["quarantined_logins"]["reasons"] == {"missing.user_id": 2}
    pipeline.set(LOGIN_ENVELOPE=None)
    (first, second) = pipeline.dead_letter_queue.take_all()
    assert first["Body"] == second["Body"] == sent["Body"]
    for letter in (first, second):  # one after the other, under their own first ids
        attributes = {name: {"DataType": "String", **value} for name, value in letter["MessageAttributes"].items()}
        pipeline.dead_letter_queue.send(letter["Body"], **attributes)
    assert redrive(read_settings(), None, dry_run=False).sent_back == 1
    assert pipeline.run().failures == []
    assert (len(pipeline.database.logins()), inbox(pipeline)) == (1, {message_id})
    done = redrive(read_settings(), None, dry_run=False)
    assert (done.sent_back, done.loaded_before) == (0, 1)
    assert (pipeline.queue.count(), pipeline.dead_letter_queue.count()) == (0, 0)


def test_encoding_goes_with_the_body_through_the_dead_letter_queue(pipeline: Pipeline) -> None:
    """Of ten attributes seven are kept, and without this one nobody could read the body."""
    others = {f"n{number}": attribute("x") for number in range(9)}
    pipeline.queue.send(gzip_of(valid()), **others, **GZIP)
    pipeline.set(LOGIN_ENVELOPE="none")
    assert pipeline.run().metadata["quarantined_logins"]["reasons"] == {"not_json": 1}
    pipeline.set(LOGIN_ENVELOPE=None)
    assert redrive(read_settings(), None, dry_run=False).sent_back == 1
    assert pipeline.run().failures == []
    assert len(pipeline.database.logins()) == 1


# How a login is wrapped: the body, and its message attributes.
Wrap = Callable[[str], tuple[str, dict[str, Any]]]


def _sns(body: str) -> str:
    return notification(body, MessageId=str(uuid.uuid4()))


def _sns_gzip(body: str) -> str:
    attributes = {"Content-Encoding": {"Type": "String", "Value": "gzip"}}
    return notification(gzip_of(body), MessageId=str(uuid.uuid4()), MessageAttributes=attributes)


WRAPS: dict[str, Wrap] = {
    "SNS": lambda body: (_sns(body), {}),
    "SNS, FIFO": lambda body: (fifo_notification(body, MessageId=str(uuid.uuid4())), {}),
    "SNS, gzip": lambda body: (_sns_gzip(body), {}),
    "base64": lambda body: (base64_of(body), {"Content-Encoding": attribute("base64")}),
    "EventBridge": lambda body: (event(body), {}),
    "SNS, EventBridge": lambda body: (_sns(event(body)), {}),
}


@pytest.mark.parametrize("name", WRAPS)
def test_poison_in_an_envelope_has_the_reason_that_it_has_without(pipeline: Pipeline, name: str) -> None:
    wrap = WRAPS[name]
    # EventBridge takes no lone surrogate, and an event with one is none.
    poisons = [each for each in POISON if "EventBridge" not in name or "\\ud" not in each.body]
    bombs = [Poison("too_large", gzip_of("x" * 1_000_000)), Poison("bad_encoding", gzip_of(valid())[:-8])]
    sent = [(*wrap(poison.body), poison.reason) for poison in poisons]
    sent += [(bomb.body, GZIP, bomb.reason) for bomb in bombs]
    sent = [each for each in sent if len(each[0]) <= LONGEST]  # what the embedded server takes
    for number, (body, attributes, _) in enumerate(sent):
        pipeline.queue.send(body, **attributes)
        good, attributes = wrap(valid(user_id=f"after-{number}"))
        pipeline.queue.send(good, **attributes)
    assert pipeline.run().failures == []
    assert pipeline.queue.count() == 0
    letters = pipeline.dead_letter_queue.take_all()
    moved = [(letter["Body"], letter["MessageAttributes"]["reason"]["StringValue"]) for letter in letters]
    assert sorted(moved) == sorted((body, reason) for body, _, reason in sent)
    assert user_ids(pipeline) == sorted(f"after-{number}" for number in range(len(sent)))


def test_nothing_in_an_envelope_is_stored_or_logged(pipeline: Pipeline, capfd: pytest.CaptureFixture[str]) -> None:
    bodies = [valid(ip="203.0.113.77", device_id="sentinel-1"), valid(ip="sentinel-2"), '{"sentinel-3": 1']
    for wrap in WRAPS.values():
        for body in bodies:
            wrapped, attributes = wrap(body)
            pipeline.queue.send(wrapped, **attributes)
    pipeline.queue.send(*bodies, **GZIP)  # which they are not
    assert pipeline.run().failures == []
    assert pipeline.dead_letter_queue.count() == 2 * len(WRAPS) + 3
    records = pipeline.database.query("SELECT * FROM user_logins_dead_letters")
    shown = f"{stored(pipeline)}{capfd.readouterr()}{records}{pipeline.database.logins()}{inbox(pipeline)}"
    for sentinel in SENTINELS:
        assert [each for each in (sentinel, base64_of(sentinel)) if each in shown] == []


def test_batch_of_what_is_inflated_is_bounded_in_memory(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.sqs.receive.MAX_CHARACTERS", 5 * LONGEST)
    body = gzip_of(valid(extra="x" * (LONGEST - 300)))
    assert len(body) < LONGEST / 100
    pipeline.queue.send(*[body] * 25, **GZIP)
    run = pipeline.run()
    assert run.metadata["raw_sqs_messages"]["dagster/row_count"] == 10  # one call
    assert len(pipeline.database.logins()) == 10
