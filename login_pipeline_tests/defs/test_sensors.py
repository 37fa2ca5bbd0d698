"""queue_depth_sensor against a real queue and a real instance."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import boto3
import dagster as dg
import pytest

from login_pipeline.definitions import defs
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.defs.sensors import queue_depth_sensor
from login_pipeline_tests.conftest import Pipeline
from login_pipeline_tests.defs.test_run_cost import calls
from login_pipeline_tests.faults.sqs_faults import ACCESS_DENIED, UNAVAILABLE
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy

Body = Callable[..., str]


def tick(pipeline: Pipeline, cursor: str | None = None) -> dg.SensorResult:
    resources = {"login_sqs": LoginQueueResource()}
    with dg.build_sensor_context(pipeline.instance, cursor=cursor, resources=resources) as context:
        result = queue_depth_sensor()(context)
    assert isinstance(result, dg.SensorResult)
    return result


def requests(result: dg.SensorResult) -> int:
    return len(result.run_requests or [])


def skip_reason(result: dg.SensorResult) -> str:
    assert isinstance(result.skip_reason, dg.SkipReason)
    return result.skip_reason.skip_message or ""


def add_run(pipeline: Pipeline, status: dg.DagsterRunStatus) -> str:
    job = defs.resolve_job_def("login_job")
    return pipeline.instance.create_run_for_job(job, status=status).run_id


def test_empty_queue_starts_no_run_and_says_so(pipeline: Pipeline) -> None:
    result = tick(pipeline)
    assert requests(result) == 0
    assert skip_reason(result) == "The queue has no messages to receive (0 in flight, 0 delayed)"


@pytest.mark.parametrize(("messages", "runs"), [(1, 1), (10, 1), (11, 2), (35, 3)])
def test_a_run_is_started_for_each_batch_up_to_the_cap(
    pipeline: Pipeline, body: Body, messages: int, runs: int
) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(*(body() for _ in range(messages)))
    assert requests(tick(pipeline)) == runs


def test_client_is_kept_from_tick_to_tick_until_the_environment_changes_or_sqs_does_not_answer(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = calls(monkeypatch, "client", boto3.Session)
    for _ in range(3):
        tick(pipeline)
    assert len(clients) == 1
    pipeline.set(AWS_REGION="eu-west-1")
    tick(pipeline)
    assert len(clients) == 2
    with SqsProxy(pipeline.environment["AWS_ENDPOINT_URL_SQS"]) as proxy:
        pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
        with proxy.breaking("GetQueueAttributes", ACCESS_DENIED):
            tick(pipeline)
        tick(pipeline)
    assert len(clients) == 4


def test_run_keys_are_never_used_again(pipeline: Pipeline, body: Body) -> None:
    pipeline.queue.send(body())
    keys = set()
    for _ in range(3):
        keys |= {request.run_key for request in tick(pipeline).run_requests or []}
        add_run(pipeline, dg.DagsterRunStatus.SUCCESS)
    assert len(keys) == 3


def test_active_runs_count_towards_the_cap(pipeline: Pipeline, body: Body) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(*(body() for _ in range(35)))
    add_run(pipeline, dg.DagsterRunStatus.STARTED)
    add_run(pipeline, dg.DagsterRunStatus.STARTED)
    assert requests(tick(pipeline)) == 1
    add_run(pipeline, dg.DagsterRunStatus.STARTING)
    result = tick(pipeline)
    assert requests(result) == 0
    assert skip_reason(result) == "3 runs are at work on 35 messages"


@pytest.mark.parametrize(("status", "runs"), [(dg.DagsterRunStatus.NOT_STARTED, 1), (dg.DagsterRunStatus.STARTED, 2)])
def test_run_on_its_way_is_not_asked_for_again_and_a_started_one_has_its_messages(
    pipeline: Pipeline, body: Body, status: dg.DagsterRunStatus, runs: int
) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(*(body() for _ in range(15)))
    add_run(pipeline, status)
    assert requests(tick(pipeline)) == runs


def add_changed_run(pipeline: Pipeline, change: dg.DagsterEventType, *, seconds_ago: float) -> None:
    """A run whose state changed last so many seconds ago."""
    run_id = add_run(pipeline, dg.DagsterRunStatus.NOT_STARTED)
    changed = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    event = dg.DagsterEvent(change.value, "login_job")
    pipeline.instance.report_dagster_event(event, run_id, timestamp=changed.timestamp())


@pytest.mark.parametrize(
    ("change", "seconds", "runs"),
    [
        (dg.DagsterEventType.RUN_START, 100, 0),
        (dg.DagsterEventType.RUN_START, 150, 1),
        (dg.DagsterEventType.RUN_STARTING, 150, 1),
    ],
    ids=["at work", "lost at work", "lost while it started"],
)
def test_lost_run_keeps_its_place_as_long_as_messages_are_hidden(
    pipeline: Pipeline, body: Body, change: dg.DagsterEventType, seconds: int, runs: int
) -> None:
    pipeline.set(LOGIN_MAX_CONCURRENT_RUNS=1, LOGIN_VISIBILITY_TIMEOUT=120)
    pipeline.queue.send(body())
    add_changed_run(pipeline, change, seconds_ago=seconds)
    assert requests(tick(pipeline)) == runs


def ago(cursor: str | None, **since: float) -> str:
    """The cursor as it would be if all that it remembers had been seen so much earlier."""

    def earlier(time: re.Match[str]) -> str:
        return (datetime.fromisoformat(time[0]) - timedelta(**since)).isoformat()

    cursor, times = re.subn(r"\d{4}-[^\"]+Z", earlier, cursor or "")
    assert times
    return cursor


def test_less_than_a_batch_waits_until_the_newest_run_began_so_long_ago_and_a_full_one_never(
    pipeline: Pipeline, body: Body
) -> None:
    pipeline.set(LOGIN_RUN_INTERVAL=60, LOGIN_BATCH_SIZE=10, LOGIN_MAX_CONCURRENT_RUNS=3)
    pipeline.queue.send(body())
    first = tick(pipeline)
    assert requests(first) == 1
    add_run(pipeline, dg.DagsterRunStatus.SUCCESS)
    second = tick(pipeline, first.cursor)
    assert requests(second) == 0
    assert skip_reason(second).startswith("1 messages, less than a batch, wait for more until ")
    assert requests(tick(pipeline, ago(second.cursor, seconds=50))) == 0
    assert requests(tick(pipeline, ago(second.cursor, seconds=61))) == 1
    pipeline.queue.send(*(body() for _ in range(25)))
    assert requests(tick(pipeline, second.cursor)) == 2  # and six messages wait
    assert requests(tick(pipeline, ago(second.cursor, seconds=61))) == 3


def test_depth_is_observed_when_it_changed_and_once_a_minute_at_most(pipeline: Pipeline, body: Body) -> None:
    first = tick(pipeline)
    assert [event.asset_key for event in first.asset_events] == [dg.AssetKey("login_queue")]
    unchanged = tick(pipeline, ago(first.cursor, hours=1))
    assert unchanged.asset_events == []
    pipeline.queue.send(body(), body())
    soon = tick(pipeline, first.cursor)
    assert soon.asset_events == []
    (later,) = tick(pipeline, ago(soon.cursor, seconds=61)).asset_events
    assert {name: value.value for name, value in later.metadata.items()} == {
        "messages": 2,
        "messages_in_flight": 0,
        "messages_delayed": 0,
        "active_runs": 0,
    }


@pytest.mark.parametrize(
    ("url", "reason"),
    [("{}-not-there", "LOGIN_QUEUE_URL names a queue that does not exist"), (None, "LOGIN_QUEUE_URL is not set")],
)
def test_wrong_setting_is_a_skip_with_its_reason(pipeline: Pipeline, url: str | None, reason: str) -> None:
    pipeline.set(LOGIN_QUEUE_URL=url and url.format(pipeline.queue.url))
    result = tick(pipeline)
    assert requests(result) == 0
    assert skip_reason(result).startswith(reason)


def fail_runs(pipeline: Pipeline, count: int) -> None:
    for _ in range(count):
        run_id = add_run(pipeline, dg.DagsterRunStatus.STARTED)
        pipeline.instance.report_run_failed(pipeline.instance.get_run_by_id(run_id))  # type: ignore[arg-type]


def test_failures_in_a_row_pause_the_sensor_and_one_after_the_pause_does_again(pipeline: Pipeline, body: Body) -> None:
    pipeline.queue.send(body())
    fail_runs(pipeline, 2)
    assert requests(tick(pipeline)) == 1
    fail_runs(pipeline, 1)
    paused = tick(pipeline)
    assert skip_reason(paused).startswith("The last 3 runs failed; the next one is started after")
    again = tick(pipeline, paused.cursor)
    assert skip_reason(again) == skip_reason(paused)
    after = ago(again.cursor, seconds=31)
    assert requests(tick(pipeline, after)) == 1
    fail_runs(pipeline, 1)
    assert skip_reason(tick(pipeline, after)).startswith("The last 3 runs failed; the next one is started after")


@pytest.mark.parametrize("skew", [timedelta(days=-1), timedelta(days=1)])
def test_clock_of_the_runs_host_does_not_change_the_pause(
    pipeline: Pipeline, body: Body, skew: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.queue.send(body())
    ended = (datetime.now(UTC) + skew).timestamp()
    with monkeypatch.context() as there:
        there.setattr("time.time", lambda: ended)
        fail_runs(pipeline, 3)
    assert pipeline.instance.get_run_records()[0].end_time == ended
    paused = tick(pipeline)
    assert requests(paused) == 0
    long_ago = (paused.cursor or "").replace(str(datetime.now(UTC).year), "2020")
    assert requests(tick(pipeline, long_ago)) == 1


@pytest.mark.parametrize("cursor", ["nonsense", '{"run_id": "another", "seen": "2020-01-01T00:00:00Z", "failures": 3}'])
def test_cursor_of_something_else_starts_the_pause_anew(pipeline: Pipeline, body: Body, cursor: str) -> None:
    pipeline.queue.send(body())
    fail_runs(pipeline, 3)
    assert skip_reason(tick(pipeline, cursor)).startswith("The last 3 runs failed")


def test_two_daemons_that_look_at_the_same_moment_ask_for_the_same_runs(pipeline: Pipeline, body: Body) -> None:
    pipeline.set(LOGIN_BATCH_SIZE=10)
    pipeline.queue.send(*(body() for _ in range(15)))
    one, other = (tick(pipeline).run_requests or [] for _ in range(2))
    assert len(one) == 2
    assert [request.run_key for request in one] == [request.run_key for request in other]


def test_success_ends_the_pause(pipeline: Pipeline, body: Body) -> None:
    fail_runs(pipeline, 5)
    pipeline.run()
    pipeline.queue.send(body())
    assert requests(tick(pipeline)) == 1


def test_queue_that_is_down_is_a_skip_and_runs_start_when_it_is_back(
    pipeline: Pipeline, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    pipeline.queue.send(body())
    with SqsProxy(pipeline.environment["AWS_ENDPOINT_URL_SQS"]) as proxy:
        pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
        with proxy.breaking("GetQueueAttributes", UNAVAILABLE):
            result = tick(pipeline)
        assert requests(result) == 0
        assert skip_reason(result).startswith("SQS refused GetQueueAttributes")
        assert requests(tick(pipeline, result.cursor)) == 1


def test_database_that_is_down_pauses_the_sensor_costs_no_delivery_and_is_tried_again(
    pipeline: Pipeline, body: Body
) -> None:
    pipeline.queue.send(body())
    with TcpProxy(pipeline.database.url) as proxy:
        pipeline.set(LOGIN_DATABASE_URL=proxy.url)
        proxy.accepting = False
        for _ in range(3):
            assert "LOGIN_DATABASE_URL cannot be used" in pipeline.run().failures[0]
        paused = tick(pipeline)
        assert skip_reason(paused).startswith("The last 3 runs failed; the next one is started after")
        proxy.heal()
        assert requests(tick(pipeline, ago(paused.cursor, seconds=31))) == 1
        assert pipeline.run().metadata["raw_sqs_messages"]["delivered_before"] == 0
    assert len(pipeline.database.logins()) == 1
