"""Delivery to a webhook on loopback, to one that does not work in each way, and to ministack's SNS."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import trustme
from botocore.stub import Stubber

from login_pipeline.alerts import delivery
from login_pipeline.alerts.delivery import deliver
from login_pipeline.errors import AlertError, ConfigurationError, LoginPipelineError
from login_pipeline.local.ports import HOST, free_port
from login_pipeline.settings import read_settings
from login_pipeline_tests.alerts.webhook import SECRET, Webhook
from login_pipeline_tests.conftest import Command, ministack
from login_pipeline_tests.faults.tls_proxy import server_context

TOPIC = "sns:arn:aws:sns:us-east-1:000000000000:alerts"


def problem(kind: type[LoginPipelineError] = AlertError) -> str:
    """The sentence with which a message does not arrive."""
    with pytest.raises(kind) as error:
        deliver("something is wrong", read_settings())
    assert SECRET not in repr(error.value)
    return error.value.sentence


def test_webhook_gets_the_text_as_slack_reads_it(webhook: Webhook) -> None:
    assert deliver("1 < 2 & <!channel>\n3 rows", read_settings()) == "the webhook took it (HTTP 200)"
    assert webhook.texts == ["1 &lt; 2 &amp; &lt;!channel&gt;\n3 rows"]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "correct the URL, or make a new webhook"),
        (429, "try again later"),
        (500, "try again later"),
        (503, "try again later"),
    ],
)
def test_webhook_that_refuses_is_one_sentence(webhook: Webhook, status: int, says: str) -> None:
    with webhook.answering(status):
        sentence = problem()
    assert sentence == f"LOGIN_ALERT_URL names a webhook that did not take the message (HTTP {status}); {says}"
    deliver("again", read_settings())
    assert webhook.texts == ["again"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(webhook: Webhook, status: int) -> None:
    with Webhook() as elsewhere, webhook.answering(status, elsewhere.url):
        assert f"(HTTP {status}); a redirect is not followed" in problem()
        assert elsewhere.paths == []


def test_webhook_that_is_silent_holds_nobody_up(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SECONDS", 1)
    webhook.answers.clear()
    assert "did not respond in" in problem()


def test_webhook_that_nobody_serves_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_ALERT_URL", f"https://{HOST}:{free_port()}/services/{SECRET}")
    assert "names a host that takes no connection" in problem()
    monkeypatch.setenv("LOGIN_ALERT_URL", f"https://nowhere.invalid/services/{SECRET}")
    assert "names a host that is not known here" in problem()


def test_certificate_of_the_webhook_is_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    authority = trustme.CA()
    with Webhook(server_context(authority.issue_cert(HOST))) as webhook:
        monkeypatch.setenv("LOGIN_ALERT_URL", webhook.url)
        assert "whose certificate no authority that is trusted here signed" in problem()
        assert webhook.paths == []
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        deliver("trusted", read_settings())
        assert webhook.texts == ["trusted"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/services",
        "http://localhost:x@hooks.example.com/services",
        "http://127.0.0.1.example.com/services",
        "ftp://hooks.example.com/services",
        "hooks.example.com/T0/B0",
        f"{TOPIC}.fifo",
        TOPIC.removeprefix("sns:"),
        "sns:alerts",
    ],
)
def test_url_in_clear_or_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOGIN_ALERT_URL", url)
    with pytest.raises(ConfigurationError, match="LOGIN_ALERT_URL: is neither the https:// URL of") as error:
        read_settings()
    assert url not in error.value.sentence


def test_without_a_place_nothing_is_delivered() -> None:
    assert "LOGIN_ALERT_URL is not set" in problem(ConfigurationError)


@pytest.fixture(scope="module")
def aws_endpoint() -> Iterator[str]:
    with ministack("sns,sqs") as endpoint:
        yield endpoint


@pytest.fixture
def topic(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ARN of a topic, which LOGIN_ALERT_URL names. The queue is in another region."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws_endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    arn = str(boto3.client("sns", region_name="us-east-1").create_topic(Name=secrets.token_hex(8))["TopicArn"])
    monkeypatch.setenv("LOGIN_ALERT_URL", f"sns:{arn}")
    return arn


def test_topic_gets_the_text_in_its_own_region(topic: str) -> None:
    sqs = boto3.client("sqs", region_name="us-east-1")
    url = sqs.create_queue(QueueName=topic.rpartition(":")[2])["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    boto3.client("sns", region_name="us-east-1").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    assert "SNS took it" in deliver("1 < 2\n3 rows", read_settings())
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sent = json.loads(message["Body"])
    assert (sent["Subject"], sent["Message"]) == ("login-pipeline", "1 < 2\n3 rows")


def test_topic_that_does_not_exist_is_one_sentence(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGIN_ALERT_URL", f"sns:{topic}-not-there")
    assert "LOGIN_ALERT_URL names a topic that does not exist (NotFound" in problem(ConfigurationError)


def test_sns_that_does_not_answer_is_one_sentence(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")
    sentence = problem(ConfigurationError)
    assert sentence.startswith("SNS does not answer at http://")
    assert topic not in sentence


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("AuthorizationError", ConfigurationError, "allow them sns:Publish on it"),
        ("KMSAccessDenied", ConfigurationError, "kms:GenerateDataKey"),
        ("InvalidClientTokenId", ConfigurationError, "AWS does not accept the credentials"),
        ("InternalError", AlertError, "SNS did not take the message (InternalError); try again later"),
    ],
)
def test_refusal_of_sns_is_one_sentence(
    topic: str, code: str, kind: type[LoginPipelineError], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server at hand refuses so."""
    client = boto3.client("sns", region_name="us-east-1")
    monkeypatch.setattr("login_pipeline.alerts.delivery.aws_client", lambda *_, **__: client)
    stubber = Stubber(client)
    stubber.add_client_error("publish", code, "a secret")
    with stubber:
        sentence = problem(kind)
    assert says in sentence
    assert "a secret" not in sentence


def test_command_says_in_one_sentence_that_the_test_message_arrived_or_did_not(
    webhook: Webhook, command: Command
) -> None:
    code, stdout, stderr = command("alert", "--test")
    assert (code, stdout, stderr) == (0, "The test message arrived: the webhook took it (HTTP 200)\n", "")
    assert webhook.texts == ["login-pipeline: this is a test; nothing is wrong."]
    with webhook.answering(500):
        code, stdout, stderr = command("alert", "--test")
    assert (code, stdout) == (1, "")
    assert stderr.endswith("did not take the message (HTTP 500); try again later\n")
    assert SECRET not in stderr


def test_command_without_a_place_names_the_setting(command: Command) -> None:
    code, stdout, stderr = command("alert", "--test")
    assert (code, stdout) == (2, "")
    assert "LOGIN_ALERT_URL is not set; for example LOGIN_ALERT_URL=https://" in stderr
