"""What the AWS SDK gives to each call, also to those of libcurl: credentials, endpoint, proxies, retries, errors."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from login_pipeline.defs import resources
from login_pipeline.errors import LoginPipelineError
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport.client import ClientOptions
from login_pipeline.sqs.transport.curl import MAX_FAILURES
from login_pipeline.sqs.worker_pool import CALLS_PER_STEP
from login_pipeline_tests.conftest import REGION, Pipeline
from login_pipeline_tests.faults import sts
from login_pipeline_tests.faults.sqs_faults import ACCESS_DENIED, UNAVAILABLE
from login_pipeline_tests.faults.sqs_proxy import Answer, ConnectionCutError, Forward, Heard, SqsProxy

ROLE = """
[profile base]
aws_access_key_id = BASE
aws_secret_access_key = base
[profile assumed]
role_arn = arn:aws:iam::123456789012:role/loader
source_profile = base
region = us-east-1
"""
BUSY = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")


def silent(_content: object, _forward: object) -> Answer:
    """Says nothing for longer than is waited for."""
    time.sleep(2)
    raise ConnectionCutError


def cannot_call(*_: object) -> None:
    """What libcurl does where it cannot make a call that boto3 can."""
    raise pycurl.error(60)


@pytest.fixture
def queues(sqs_proxy: SqsProxy) -> LoginQueues:
    """Behind the proxy."""
    return LoginQueues(read_settings())


def use(queues: LoginQueues, pipeline: Pipeline, body: Callable[..., str], messages: int = 40) -> None:
    """Receives, deletes half, and hands the other half back: all that a run asks for by the thousand, twice or more."""
    pipeline.queue.send(*(body() for _ in range(messages)))
    handles = [message.receipt_handle for message in queues.receive().messages]
    assert len(handles) == messages
    assert queues.login_queue.delete(handles[::2]) == {}
    assert queues.release() == (messages // 2, {})
    assert pipeline.queue.count() == messages // 2


def of_one_run(heard: list[Heard]) -> list[Heard]:
    return [call for call in heard if call.action in BUSY]


def assert_made_by_libcurl_but_the_first(calls: list[Heard]) -> None:
    by_boto3 = ["amz-sdk-invocation-id" in call.headers for call in calls]
    assert by_boto3 == [True] + [False] * (len(calls) - 1)


def signature(call: Heard, endpoint: str, credentials: Credentials, region: str) -> str:
    """The call's signature, as botocore makes it for the headers that were signed.

    libcurl signs headers that botocore leaves out, because they may change after it has signed.
    """
    names = re.search(r"SignedHeaders=([^,]+)", call.headers["Authorization"])
    assert names
    headers = {name: value for name, value in call.headers.items() if name.lower() in names[1].split(";")}
    auth = SigV4Auth(credentials, "sqs", region)
    request = AWSRequest("POST", f"{endpoint}/", headers, call.body)
    request.context["timestamp"] = headers["X-Amz-Date"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.SIGNED_HEADERS_BLACKLIST", [])
        return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def test_libcurl_makes_every_call_but_the_first_by_one_connection_and_says_which_program_it_is(
    sqs_proxy: SqsProxy, pipeline: Pipeline, body: Callable[..., str]
) -> None:
    pipeline.set(LOGIN_SQS_CALLS=1)
    use(LoginQueues(read_settings()), pipeline, body)
    calls = of_one_run(sqs_proxy.heard)
    assert len(calls) > 8
    assert {call.action for call in calls} == set(BUSY)
    assert_made_by_libcurl_but_the_first(calls)
    assert len({call.client for call in calls}) == 2  # one of boto3's, one of libcurl's
    assert all(re.search("Boto3/.*login-pipeline/", call.headers["User-Agent"]) for call in calls)


def test_each_call_has_a_good_signature_by_fresh_credentials_of_the_role(
    queues: LoginQueues,
    sqs_proxy: SqsProxy,
    pipeline: Pipeline,
    body: Callable[..., str],
    tmp_path: Path,
) -> None:
    (tmp_path / "config").write_text(ROLE)
    pipeline.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_REGION=None)
    pipeline.set(AWS_PROFILE="assumed", AWS_CONFIG_FILE=str(tmp_path / "config"))
    with sts.sts_server() as endpoint:
        pipeline.set(AWS_ENDPOINT_URL_STS=endpoint)
        use(queues, pipeline, body)
    numbers = set()
    calls = of_one_run(sqs_proxy.heard)
    assert_made_by_libcurl_but_the_first(calls)
    for call in calls:
        authorization = re.search(
            r"Credential=ASSUMED(\d+)/\d{8}/us-east-1/sqs/aws4_request,.*Signature=(\w+)$",
            call.headers["Authorization"],
        )
        assert authorization, call.headers["Authorization"]
        number = int(authorization[1])
        assert call.headers["X-Amz-Security-Token"] == sts.token(number)
        credentials = Credentials("ASSUMED", sts.secret(number), sts.token(number))
        assert signature(call, sqs_proxy.endpoint, credentials, REGION) == authorization[2]
        numbers.add(number)
    assert len(numbers) > 3, "the credentials were never refreshed"


def test_credentials_that_cannot_be_refreshed_are_reported_and_end_no_other_work(
    queues: LoginQueues, pipeline: Pipeline, body: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(ROLE)
    pipeline.set(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None, AWS_REGION=None, AWS_MAX_ATTEMPTS=1)
    pipeline.set(AWS_PROFILE="assumed", AWS_CONFIG_FILE=str(tmp_path / "config"))
    pipeline.queue.send(*(body() for _ in range(40)))
    with sts.sts_server() as endpoint:
        pipeline.set(AWS_ENDPOINT_URL_STS=endpoint)
        handles = [message.receipt_handle for message in queues.receive().messages]
    assert queues.login_queue.delete(handles[:20]) == {"EndpointConnectionError": 20}
    with pytest.raises(LoginPipelineError, match="does not answer"):
        queues.receive()
    assert queues.release() == (40, {"EndpointConnectionError": 40})


@pytest.mark.parametrize("by_way_of_it", [True, False])
def test_calls_go_by_way_of_the_proxy_in_the_environment(
    queues: LoginQueues,
    sqs_proxy: SqsProxy,
    pipeline: Pipeline,
    body: Callable[..., str],
    by_way_of_it: bool,
) -> None:
    elsewhere = "http://sqs.invalid:9999"
    if by_way_of_it:
        pipeline.set(HTTP_PROXY=sqs_proxy.endpoint, AWS_ENDPOINT_URL_SQS=elsewhere)
    else:
        pipeline.set(HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="127.0.0.1")
    use(queues, pipeline, body)
    calls = of_one_run(sqs_proxy.heard)
    assert {call.target for call in calls} == ({f"{elsewhere}/"} if by_way_of_it else {"/"})
    assert_made_by_libcurl_but_the_first(calls)


def test_silent_queue_is_not_asked_for_every_message(
    sqs_proxy: SqsProxy, pipeline: Pipeline, body: Callable[..., str]
) -> None:
    pipeline.set(LOGIN_SQS_CALLS=4)
    queues = LoginQueues(read_settings(), ClientOptions(read_timeout=1, max_attempts=1))
    pipeline.queue.send(*(body() for _ in range(240)))
    assert len(queues.receive().messages) == 240
    with sqs_proxy.breaking("ChangeMessageVisibilityBatch", silent):
        messages, not_taken = queues.release()
    assert messages == sum(not_taken.values()) == 240
    assert not_taken["NotAttempted"] >= 160
    assert sqs_proxy.calls["ChangeMessageVisibilityBatch"] <= 12  # of 24: four by each client, and libcurl's again


def test_call_that_was_left_to_boto3_is_logged(
    sqs_proxy: SqsProxy, pipeline: Pipeline, body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: dict[str, Any] = {}
    log = SimpleNamespace(warning=lambda event, **figures: warned.update({event: figures}))
    monkeypatch.setattr(resources, "run_log", lambda _context: log)
    pipeline.queue.send(body())
    with sqs_proxy.breaking("DeleteMessageBatch", UNAVAILABLE, times=1):
        assert pipeline.run().failures == []
    assert warned == {"left_to_boto3": {"calls": {"HTTP 503": 1}}}


def test_boto3_makes_the_calls_where_libcurl_cannot_work(
    sqs_proxy: SqsProxy, pipeline: Pipeline, body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many at once as libcurl would, after a few that libcurl has tried in vain."""
    monkeypatch.setattr("login_pipeline.sqs.transport.curl.CurlSession.send", cannot_call)
    free = threading.Semaphore(CALLS_PER_STEP)
    at_once: list[int] = []

    def slow(content: dict[str, Any], forward: Forward) -> Answer:
        with free:
            at_once.append(CALLS_PER_STEP - free._value)
            time.sleep(0.05)
            return forward(content)

    pipeline.set(LOGIN_SQS_CALLS=CALLS_PER_STEP)
    pipeline.queue.send(*(body() for _ in range(300)))
    queues = LoginQueues(read_settings())
    handles = [message.receipt_handle for message in queues.receive().messages]
    sqs_proxy.on("DeleteMessageBatch", slow)
    assert queues.login_queue.delete(handles) == {}
    assert pipeline.queue.count() == 0
    assert max(at_once) >= 8
    assert MAX_FAILURES <= queues.left_to_boto3["libcurl 60"] < MAX_FAILURES + CALLS_PER_STEP
    assert queues.left_to_boto3["not tried"] >= 30


def test_calls_that_libcurl_cannot_make_are_not_all_made_again_where_sqs_refuses_the_first(
    sqs_proxy: SqsProxy, pipeline: Pipeline, body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would be tried again by the SDK, and all share one quota of retries."""
    queues = LoginQueues(read_settings())
    pipeline.queue.send(*(body() for _ in range(200)))
    handles = [message.receipt_handle for message in queues.receive().messages]
    monkeypatch.setattr("login_pipeline.sqs.transport.curl.CurlSession.send", cannot_call)
    with sqs_proxy.breaking("DeleteMessageBatch", ACCESS_DENIED):
        assert queues.login_queue.delete(handles) == {"AccessDenied": 200}
    assert sqs_proxy.calls["DeleteMessageBatch"] <= 3
