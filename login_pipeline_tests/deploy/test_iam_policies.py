"""The policies in deploy/iam allow what the code calls, on the queue on which it does, and not one action more."""

import json
import re
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from login_pipeline.alerts.delivery import deliver
from login_pipeline.cli.drain import drain
from login_pipeline.cli.send import send_lines
from login_pipeline.errors import ConfigurationError
from login_pipeline.ingest.redrive import redrive
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport import curl
from login_pipeline_tests import ROOT
from login_pipeline_tests.alerts.webhook import Webhook
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.defs.test_health import Sensor
from login_pipeline_tests.defs.test_sensors import tick

IAM = ROOT / "deploy" / "iam"
POLICIES = sorted(path.name for path in IAM.glob("*.json"))
Calls = set[tuple[str, str]]


@pytest.fixture
def calls(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The actions that the SDK is asked for from now on, each with the name that the policies give its queue."""
    monkeypatch.setattr(curl, "BY_LIBCURL", set())  # boto3 has an event for each call; libcurl makes the same ones
    queues = {pipeline.queue.url: "YOUR-LOGIN-QUEUE", pipeline.dead_letter_queue.url: "YOUR-DEAD-LETTER-QUEUE"}
    called: Calls = set()

    def record(params: dict[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.endpoint_prefix, model.name
        resource = queues[params["QueueUrl"]] if service == "sqs" else "YOUR-ALERT-TOPIC"
        called.add((f"{service}:{_action(operation)}", resource))

    class Recorded(boto3.Session):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.events.register("before-parameter-build", record)

    monkeypatch.setattr("boto3.Session", Recorded)
    return called


def test_consumer_policy_is_what_a_drain_calls(pipeline: Pipeline, calls: Calls, body: Callable[..., str]) -> None:
    pipeline.queue.send(body(), "not a login")
    assert drain(read_settings(), pipeline.instance, lambda *_: None).failures == []
    pipeline.database.fill_disk()
    pipeline.queue.send(body())  # what cannot be loaded is released
    assert drain(read_settings(), pipeline.instance, lambda *_: None).failures != []
    assert calls == allowed("consumer-policy.json")


def test_sensor_policy_is_what_each_sensor_calls(pipeline: Pipeline, calls: Calls, body: Callable[..., str]) -> None:
    pipeline.queue.send(body())
    tick(pipeline)
    assert calls == allowed("sensor-policy.json")
    calls.clear()
    with Webhook() as webhook:
        pipeline.set(LOGIN_ALERT_URL=webhook.url)
        Sensor(pipeline, webhook).look()
    assert calls == allowed("sensor-policy.json")


def test_redrive_policy_is_what_a_redrive_calls(pipeline: Pipeline, calls: Calls) -> None:
    pipeline.run()
    calls.clear()
    pipeline.dead_letter_queue.send("one", "another")
    reason = {"DataType": "String", "StringValue": "not_json"}
    pipeline.dead_letter_queue.send("not a login", reason=reason)
    done = redrive(read_settings(), "not_json", dry_run=False)
    assert (done.sent_back, done.left) == (1, 2)
    assert calls == allowed("redrive-policy.json")


def test_sender_policy_is_what_sending_calls(pipeline: Pipeline, calls: Calls) -> None:
    assert send_lines(LoginQueues(read_settings()).login_queue, [b"one", b"two"]).messages == 2
    assert calls == allowed("sender-policy.json")


def test_alert_policy_is_what_an_alert_calls(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://{HOST}:{free_port()}")  # no topic is needed to see the call
    monkeypatch.setenv("LOGIN_ALERT_URL", "sns:arn:aws:sns:us-east-1:000000000000:alerts")
    with pytest.raises(ConfigurationError, match="SNS does not answer"):
        deliver("something is wrong", read_settings())
    assert calls == allowed("alert-policy.json")


def test_masking_key_policy_reads_one_secret_and_decrypts_nothing_else() -> None:
    reads = {(action, name) for action, name in allowed("masking-key-policy.json") if not action.startswith("kms:")}
    assert reads == {
        ("secretsmanager:GetSecretValue", "secret:YOUR-MASKING-KEY-SECRET-AND-ITS-SUFFIX"),
        ("ssm:GetParameter", "parameter/YOUR-MASKING-KEY-PARAMETER"),
    }
    decrypts = [each for each in _statements("masking-key-policy.json") if each["Action"] == "kms:Decrypt"]
    assert len(decrypts) == 2  # a statement a store
    for store in decrypts:
        conditions = store["Condition"]["StringEquals"]
        service = conditions.pop("kms:ViaService")
        assert service in {"secretsmanager.YOUR-REGION.amazonaws.com", "ssm.YOUR-REGION.amazonaws.com"}
        (arn,) = conditions.values()
        assert arn in {each["Resource"] for each in _statements("masking-key-policy.json")}


def test_queue_key_policy_uses_the_key_through_sqs_only() -> None:
    """Source: Amazon SQS Developer Guide, "Amazon SQS Key management"."""
    (statement,) = _statements("queue-key-policy.json")
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "sqs.YOUR-REGION.amazonaws.com"}}


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_allows_named_actions_on_one_named_resource_each(policy: str) -> None:
    document = json.loads((IAM / policy).read_text(encoding="utf-8"))
    assert document["Version"] == "2012-10-17"
    for statement in document["Statement"]:
        assert set(statement) - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
    assert "*" not in json.dumps(document)
    assert all(re.fullmatch(r"[a-z]+:[A-Za-z]+", action) for action, _ in allowed(policy))


def allowed(policy: str) -> Calls:
    """Each action, with what is named after the account in the ARN."""
    return {
        (action, statement["Resource"].split(":YOUR-ACCOUNT-ID:")[1])
        for statement in _statements(policy)
        for action in _listed(statement["Action"])
    }


def _statements(policy: str) -> list[dict[str, Any]]:
    statements: list[dict[str, Any]] = json.loads((IAM / policy).read_text(encoding="utf-8"))["Statement"]
    return statements


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def _action(operation: str) -> str:
    """IAM has no actions for batches. Source: Service Authorization Reference, "Actions defined by Amazon SQS"."""
    return operation.removesuffix("Batch")
