"""health_sensor over faults that are made on real services, and a webhook on loopback."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from login_pipeline.alerts.decision import FAILING_LOOKS, OK_LOOKS, News, Said, decide
from login_pipeline.defs.conditions import MAX_AGE, Watch, what_is_wrong
from login_pipeline.defs.facts import Check, Facts, RunFacts, Source
from login_pipeline.defs.health import health_sensor
from login_pipeline.defs.resources import LoginQueueResource
from login_pipeline.logins.reasons import Reason
from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline_tests.alerts.webhook import SECRET, Webhook
from login_pipeline_tests.at_rest.sentinels import Sentinels
from login_pipeline_tests.conftest import MASKING_KEY, Pipeline
from login_pipeline_tests.defs.test_sensors import ago, skip_reason
from login_pipeline_tests.faults.sqs_faults import UNAVAILABLE
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy

Body = Callable[..., str]


class Sensor:
    """The sensor as Dagster's daemon calls it, which keeps its cursor."""

    def __init__(self, pipeline: Pipeline, webhook: Webhook) -> None:
        self._pipeline = pipeline
        self._webhook = webhook
        self.cursor: str | None = None
        self.reason = ""

    def look(self) -> list[str]:
        """The lines of the message that arrived, if any, without its times."""
        arrived = len(self._webhook.texts)
        resources = {"login_sqs": LoginQueueResource()}
        with dg.build_sensor_context(self._pipeline.instance, cursor=self.cursor, resources=resources) as context:
            result = health_sensor()(context)
        assert isinstance(result, dg.SensorResult)
        assert not result.run_requests
        self.cursor, self.reason = result.cursor or self.cursor, skip_reason(result)
        assert SECRET not in f"{self.cursor}{self.reason}"
        return [line.split(" (")[0] for text in self._webhook.texts[arrived:] for line in text.splitlines()[1:]]

    def looks(self, number: int) -> list[str]:
        return [line for _ in range(number) for line in self.look()]

    def until_it_begins(self) -> list[str]:
        return self.looks(FAILING_LOOKS)

    def until_it_is_over(self) -> list[str]:
        return self.looks(OK_LOOKS)

    def wait(self, **time: float) -> None:
        """As if the last look had been so long ago."""
        self.cursor = ago(self.cursor, **time)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as webhook:
        yield webhook


@pytest.fixture
def sensor(pipeline: Pipeline, webhook: Webhook) -> Sensor:
    pipeline.set(LOGIN_ALERT_URL=webhook.url)
    return Sensor(pipeline, webhook)


def test_all_is_well_and_nothing_is_sent(pipeline: Pipeline, sensor: Sensor, body: Body) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().passed
    assert pipeline.run("user_logins_checks_job").passed
    assert sensor.looks(5) == []
    assert sensor.reason == "There is nothing new to say"


def test_without_a_place_it_skips_with_the_reason(pipeline: Pipeline, sensor: Sensor) -> None:
    pipeline.set(LOGIN_ALERT_URL=None)
    assert sensor.look() == []
    assert sensor.reason.startswith("LOGIN_ALERT_URL is not set")
    pipeline.set(LOGIN_ALERT_URL="http://hooks.example.com")
    assert sensor.look() == []
    assert sensor.reason.startswith("LOGIN_ALERT_URL: is neither")


def test_setting_that_is_wrong_is_said_and_ends_no_other_condition(
    pipeline: Pipeline, sensor: Sensor, body: Body
) -> None:
    pipeline.queue.send("not a login")
    assert pipeline.run().passed
    letters = "dead letters: 1 in an hour for the reason not_json"
    assert sensor.until_it_begins() == [f"new: {letters}"]
    pipeline.set(LOGIN_BATCH_SIZE=0)
    says = "settings: LOGIN_BATCH_SIZE: input should be greater than or equal to 1"
    assert sensor.until_it_begins() == [f"new: {says}", f"still: {letters}"]
    assert sensor.until_it_is_over() == []
    pipeline.set(LOGIN_BATCH_SIZE=None)
    assert sensor.until_it_is_over() == [f"still: {letters}", f"over: {says}"]


def test_runs_that_fail_and_a_database_that_is_down_are_said_and_that_it_is_over(
    pipeline: Pipeline, sensor: Sensor, body: Body
) -> None:
    pipeline.queue.send(body())
    with TcpProxy(pipeline.database.url) as proxy:
        pipeline.set(LOGIN_DATABASE_URL=proxy.url)
        proxy.accepting = False
        for _ in range(2):
            assert not pipeline.run().passed
        proxy.heal()
        assert sensor.until_it_begins() == []
        proxy.accepting = False
        assert not pipeline.run().passed
        assert sensor.until_it_begins() == [
            "new: database: no answer; `login-pipeline doctor` says why",
            "new: runs: 3 failed in a row; the newest says why",
        ]
        proxy.heal()
        assert pipeline.run().passed
        assert sensor.until_it_is_over() == [
            "over: database: no answer; `login-pipeline doctor` says why",
            "over: runs: 3 failed in a row; the newest says why",
        ]


def test_queue_that_nobody_drains_is_said_when_its_messages_are_old(
    pipeline: Pipeline, sensor: Sensor, body: Body
) -> None:
    pipeline.set(LOGIN_RUN_INTERVAL=60)
    pipeline.queue.send(body())
    assert sensor.looks(3) == []
    sensor.wait(minutes=14)
    assert sensor.looks(3) == []
    sensor.wait(minutes=3)
    assert sensor.until_it_begins() == ["new: queue: its oldest message is 17 minutes old, or older"]
    assert pipeline.run().passed
    assert sensor.until_it_is_over() == ["over: queue: its oldest message is 17 minutes old, or older"]


def test_queue_that_is_down_is_said_and_ends_no_condition_of_its_own(
    pipeline: Pipeline, sensor: Sensor, body: Body
) -> None:
    pipeline.queue.send(body())
    sensor.look()
    sensor.wait(minutes=20)
    assert sensor.until_it_begins() == ["new: queue: its oldest message is 20 minutes old, or older"]
    with SqsProxy(pipeline.environment["AWS_ENDPOINT_URL_SQS"]) as proxy:
        pipeline.set(AWS_ENDPOINT_URL_SQS=proxy.endpoint)
        with proxy.breaking("GetQueueAttributes", UNAVAILABLE):
            assert sensor.until_it_is_over() == [
                "new: login_queue: no answer; `login-pipeline doctor` says why",
                "still: queue: its oldest message is 20 minutes old, or older",
            ]


def test_dagster_that_is_down_does_not_end_what_only_its_records_say_of_the_queue() -> None:
    says = "queue: its oldest message is 30 minutes old, or older"
    queue, said, watch = QueueDepth(1, 0, 0), Said(), Watch(began=NOW)
    runs = run_facts(received_at=NOW, oldest_age=1800.0)
    silent = facts_with(login_queue=queue, problems={Source.DAGSTER: "x"})
    for facts in (*[facts_with(login_queue=queue, runs=runs)] * FAILING_LOOKS, *[silent] * OK_LOOKS):
        watch = watch.after(facts, NOW)
        wrong = what_is_wrong(facts, watch, Settings.model_construct(run_interval=0), NOW)
        said = decide(wrong, facts.problems, said, NOW).delivered
    assert said.conditions["queue"].says == says
    assert said.conditions["queue"].news is News.STILL


def test_new_dead_letters_are_said_by_reason_and_another_reason_when_it_comes(
    pipeline: Pipeline, sensor: Sensor, body: Body
) -> None:
    pipeline.queue.send("not a login", "nor this", body(ip="nowhere"))
    assert pipeline.run().passed
    assert sensor.until_it_begins() == [
        "new: dead letters: 1 in an hour for the reason malformed",
        "new: dead letters: 2 in an hour for the reason not_json",
    ]
    pipeline.queue.send("not a login either", body(user_id=...))
    assert pipeline.run().passed
    assert sensor.until_it_begins() == [
        "new: dead letters: 1 in an hour for the reason missing",
        "still: dead letters: 1 in an hour for the reason malformed",
        "still: dead letters: 3 in an hour for the reason not_json",
    ]
    pipeline.database.query("UPDATE user_logins_dead_letters SET sent_at = sent_at - interval '61 minutes'")
    assert len(sensor.until_it_is_over()) == 3


def test_check_that_fails_is_said_by_its_name(pipeline: Pipeline, sensor: Sensor, body: Body) -> None:
    pipeline.queue.send(body(), body())
    assert pipeline.run().passed
    pipeline.database.query("CREATE TABLE kept AS SELECT * FROM user_logins; DELETE FROM user_logins")
    assert not pipeline.run("user_logins_checks_job").passed
    assert sensor.until_it_begins() == ["new: check: rows_agree_with_the_inbox failed"]
    pipeline.database.query("INSERT INTO user_logins SELECT * FROM kept")
    assert pipeline.run("user_logins_checks_job").passed
    assert sensor.until_it_is_over() == ["over: check: rows_agree_with_the_inbox failed"]


def test_backup_that_is_overdue_is_said_and_one_that_is_not_wanted_is_not(
    pipeline: Pipeline, sensor: Sensor, body: Body, tmp_path: Path
) -> None:
    pipeline.queue.send(body())
    assert pipeline.run().passed
    sensor.look()
    sensor.wait(hours=37)
    assert sensor.until_it_begins() == []
    pipeline.set(LOGIN_BACKUP_URL=str(tmp_path / "backup"))
    assert sensor.until_it_begins() == ["new: backup: none for 37 hours"]
    assert pipeline.run("user_logins_backup_job").passed
    assert sensor.until_it_is_over() == ["over: backup: none for 37 hours"]


def test_key_that_is_old_is_said_once(pipeline: Pipeline, sensor: Sensor, body: Body) -> None:
    made_on = datetime.now(UTC).date() - timedelta(days=366)
    pipeline.set(LOGIN_MASKING_KEY=f"{made_on}:{MASKING_KEY}")
    pipeline.queue.send(body())
    assert pipeline.run().passed
    pipeline.set(LOGIN_MASKING_KEY=None)  # as in the daemon, which masks nothing
    assert sensor.until_it_begins() == ["new: masking key: 366 days old"]
    sensor.wait(hours=2)
    assert sensor.looks(3) == []


def test_message_that_does_not_arrive_is_sent_at_the_next_look_and_once(
    pipeline: Pipeline, sensor: Sensor, webhook: Webhook
) -> None:
    pipeline.queue.send("not a login")
    assert pipeline.run().passed
    with webhook.answering(500):
        assert sensor.looks(5) == []
    assert sensor.reason == (
        "LOGIN_ALERT_URL names a webhook that did not take the message (HTTP 500); try again later"
    )
    assert sensor.look() == ["new: dead letters: 1 in an hour for the reason not_json"]
    assert sensor.looks(5) == []
    sensor.wait(hours=1)
    assert sensor.look() == ["still: dead letters: 1 in an hour for the reason not_json"]


def test_daemon_that_ended_before_its_cursor_was_kept_says_it_again_and_no_more(
    pipeline: Pipeline, sensor: Sensor, webhook: Webhook
) -> None:
    """As two daemons do that look at the same moment: only the cursor that is kept last counts."""
    pipeline.queue.send("not a login")
    assert pipeline.run().passed
    sensor.look()
    kept = sensor.cursor
    assert len(sensor.look()) == 1
    sensor.cursor = kept
    assert len(sensor.look()) == 1
    assert sensor.looks(5) == []


def test_cursor_of_something_else_begins_anew(pipeline: Pipeline, sensor: Sensor) -> None:
    pipeline.queue.send("not a login")
    assert pipeline.run().passed
    for cursor in ("nonsense", '{"said": 3}'):
        sensor.cursor = cursor
        assert len(sensor.until_it_begins()) == 1


def test_no_message_and_no_cursor_holds_personal_data(pipeline: Pipeline, sensor: Sensor, webhook: Webhook) -> None:
    own = Sentinels()
    pipeline.queue.send(own.of("loaded").login(), own.of("no ip").login(ip="nowhere"), own.of("cut").login()[:-1])
    assert pipeline.run().passed
    pipeline.database.fill_disk()  # quotes the row
    for run in range(3):
        pipeline.queue.send(own.of(f"refused {run}").login())
        assert not pipeline.run().passed
    pipeline.database.query("DELETE FROM user_logins")
    assert not pipeline.run("user_logins_checks_job").passed
    assert len(sensor.until_it_begins()) >= 3
    assert {line.split(":")[1] for text in webhook.texts for line in text.splitlines()[1:]} == {
        " check",
        " dead letters",
        " runs",
    }
    search = own.search({"masking key": MASKING_KEY})
    said = [("message", text.encode()) for text in webhook.texts] + [("cursor", (sensor.cursor or "").encode())]
    assert search.places(iter(said)) == {}


NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WELL: dict[str, Any] = {
    "login_queue": QueueDepth(0, 0, 0),
    "dead_letters": dict.fromkeys(Reason, 0),
    "runs": None,
    "problems": {},
}


def run_facts(**other: Any) -> RunFacts:
    nothing: dict[str, Any] = dict.fromkeys(RunFacts.__dataclass_fields__)
    return RunFacts(**{**nothing, "failures_in_a_row": 0, "checks": {}, "job_failed": {}, **other})


def says(facts: Facts, watch: Watch | None = None) -> list[str]:
    wrong = what_is_wrong(facts, watch or Watch(began=NOW), Settings.model_construct(run_interval=0), NOW)
    return [each.says for each in wrong.values()]


def facts_with(**other: Any) -> Facts:
    return Facts(**{**WELL, **other})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (facts_with(), []),
        (facts_with(runs=run_facts(failures_in_a_row=2)), []),
        (facts_with(runs=run_facts(checks={"groups": Check(passed=False, warns=True)})), []),
        (
            facts_with(runs=run_facts(checks={"groups": Check(passed=False, warns=False, ran=False)})),
            ["check: groups could not run"],
        ),
        (
            facts_with(runs=run_facts(job_failed={"inbox_pruning_job": True, "run_history_job": False})),
            ["job: inbox_pruning_job failed; its newest run says why"],
        ),
        (facts_with(runs=run_facts(key_made_on=date(2025, 1, 1))), []),
        (facts_with(runs=run_facts(key_made_on=date(2024, 12, 31))), ["masking key: 366 days old"]),
        (facts_with(problems={Source.DAGSTER: "x"}), ["dagster: no answer; `login-pipeline doctor` says why"]),
    ],
)
def test_bounds_of_what_is_wrong(facts: Facts, said: list[str]) -> None:
    assert says(facts) == said


def test_age_of_the_queue_is_what_waits_or_what_was_received_lately() -> None:
    waiting = QueueDepth(1, 0, 0)
    old = run_facts(received_at=NOW - timedelta(minutes=1), oldest_age=1800.0)
    watch = Watch(began=NOW).after(facts_with(login_queue=waiting, runs=old), NOW)
    assert says(facts_with(login_queue=waiting, runs=old), watch) == [
        "queue: its oldest message is 30 minutes old, or older"
    ]
    assert says(facts_with(runs=old), watch.after(facts_with(runs=old), NOW)) == []  # the queue is empty
    long_ago = run_facts(received_at=NOW - timedelta(hours=8), oldest_age=1800.0)
    assert says(facts_with(login_queue=waiting, runs=long_ago), watch) == []
    assert says(facts_with(login_queue=None, runs=old), watch) == []  # nobody knows
    waited = Watch(began=NOW, waiting_since=NOW - timedelta(hours=1))
    nothing_received = facts_with(login_queue=waiting, runs=run_facts())
    assert says(nothing_received, waited) == ["queue: its oldest message is 60 minutes old, or older"]
    assert says(facts_with(login_queue=waiting), waited) == []  # Dagster is silent, and may know of runs that receive


def test_queue_that_is_received_from_does_not_wait() -> None:
    watch = Watch(began=NOW)
    for minute in range(60):
        now = NOW + timedelta(minutes=minute)
        runs = run_facts(received_at=now - timedelta(seconds=30), oldest_age=40.0)
        watch = watch.after(facts_with(login_queue=QueueDepth(100, 0, 0), runs=runs), now)
        assert watch.waiting_since is not None
        assert now - watch.waiting_since < MAX_AGE
