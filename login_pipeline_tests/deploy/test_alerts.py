"""Each alert of deploy/prometheus fires for its fault and for no other: in promtool, and while the fault is made."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from login_pipeline.cli.runs import run
from login_pipeline.definitions import defs
from login_pipeline.local.ports import free_port, wait_until
from login_pipeline_tests import ROOT
from login_pipeline_tests.cli.test_metrics import serving
from login_pipeline_tests.conftest import MASKING_KEY, Database, Pipeline
from login_pipeline_tests.faults.sqs_faults import UNAVAILABLE
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy
from login_pipeline_tests.prometheus import ALERTS, FOLDER, RULES, Prometheus, program

Body = Callable[..., str]

# --- in promtool: the rules as they are, and figures of an hour ---

# Minutes for which all is well, before the fault.
WELL = 30
# A well pipeline's figures, by series: a value, or a value and what each minute adds to it.
HEALTHY = {
    'up{job="login-pipeline"}': "1",
    'login_pipeline_source_up{source="dagster"}': "1",
    'login_pipeline_queue_messages{state="visible"}': "25000",
    'login_pipeline_queue_messages{state="in_flight"}': "25000",
    "login_pipeline_queue_in_flight_limit": "120000",
    'login_pipeline_runs{state="waiting"}': "1",
    'login_pipeline_runs{state="at_work"}': "4",
    "login_pipeline_recent_longest_run_seconds": "9",
    "login_pipeline_run_limit_seconds": "900",
    "login_pipeline_failures_in_a_row": "1",
    'login_pipeline_job_failed{job_name="user_logins_backup_job"}': "0",
    "login_pipeline_last_receive_timestamp_seconds": "0+60",
    "login_pipeline_oldest_received_age_seconds": "40",
    'login_pipeline_recent_dead_letters{reason="missing"}': "0",
    'login_pipeline_check_passed{check="rows_hold_no_ip_in_clear"}': "1",
    "login_pipeline_rows": "1000000",
    "login_pipeline_rows_below_k": "5000",
    "login_pipeline_dagster_database_bytes": "200000000",
    "login_pipeline_last_backup_timestamp_seconds": "0",
    "login_pipeline_masking_key_made_timestamp_seconds": "0",
}
# What the fault of each alert changes.
FAULTS: dict[str, dict[str, str]] = {
    "LoginMetricsMissing": {'up{job="login-pipeline"}': "0"},
    "LoginSourceUnreadable": {'login_pipeline_source_up{source="dagster"}': "0"},
    "LoginRunsFail": {"login_pipeline_failures_in_a_row": "3", "login_pipeline_last_receive_timestamp_seconds": "1800"},
    "LoginJobFails": {'login_pipeline_job_failed{job_name="user_logins_backup_job"}': "1"},
    "LoginRunsWait": {
        'login_pipeline_runs{state="at_work"}': "0",
        "login_pipeline_last_receive_timestamp_seconds": "1800",
    },
    "LoginQueueStalled": {
        'login_pipeline_runs{state="waiting"}': "0",
        'login_pipeline_runs{state="at_work"}': "0",
        "login_pipeline_last_receive_timestamp_seconds": "1800",
    },
    "LoginsLate": {"login_pipeline_oldest_received_age_seconds": "4000"},
    "LoginQueueInFlight": {'login_pipeline_queue_messages{state="in_flight"}': "110000"},
    "LoginRunsSlow": {"login_pipeline_recent_longest_run_seconds": "730"},
    "LoginDeadLetters": {'login_pipeline_recent_dead_letters{reason="missing"}': "1"},
    "LoginCheckFailed": {'login_pipeline_check_passed{check="rows_hold_no_ip_in_clear"}': "0"},
    "LoginBackupOverdue": {"login_pipeline_last_backup_timestamp_seconds": "-130000"},
    "LoginMaskingKeyOld": {"login_pipeline_masking_key_made_timestamp_seconds": "-31600000"},
    "LoginRowsBelowK": {"login_pipeline_rows_below_k": "150000"},
    "LoginDagsterDatabaseLarge": {"login_pipeline_dagster_database_bytes": "11000000000"},
}
# The same faults with what they bring about elsewhere.
AND_WITH_THEM: list[tuple[str, dict[str, str]]] = [
    # Dagster fails a run that no worker takes in 10 minutes.
    (
        "LoginRunsWait",
        {"login_pipeline_recent_longest_run_seconds": "0", "login_pipeline_failures_in_a_row": "4"},
    ),
    (
        "LoginSourceUnreadable",
        {
            "login_pipeline_failures_in_a_row": "8",
            'login_pipeline_job_failed{job_name="user_logins_backup_job"}': "1",
            "login_pipeline_last_receive_timestamp_seconds": "1800",
        },
    ),
    # A run that hangs.
    (
        "LoginQueueStalled",
        {'login_pipeline_runs{state="waiting"}': "1", 'login_pipeline_runs{state="at_work"}': "1"},
    ),
    ("LoginJobFails", {"login_pipeline_last_backup_timestamp_seconds": "-130000"}),
]
CASES = [*((alert, {}) for alert in FAULTS), *AND_WITH_THEM]
# Minutes until the expression is true, where it is about how long something has not happened.
TAKES = {"LoginQueueStalled": 5}


def test_every_alert_has_a_fault_and_is_in_the_document() -> None:
    assert set(FAULTS) == set(ALERTS)
    document = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [name for name in ALERTS if f"| `{name}` |" not in document] == []


@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")])
def test_files_are_what_prometheus_reads(command: tuple[str, ...]) -> None:
    checked = subprocess.run([program("promtool"), *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _minutes(alert: str) -> int:
    return int(ALERTS[alert].get("for", "0m").removesuffix("m")) + TAKES.get(alert, 0)


def _values(well: str, faulty: str | None) -> str:
    """A series in promtool's notation, until the fault and after it."""
    steady = well if "+" in well else f"{well}+0"
    return f"{steady}x{WELL}" + (f" {faulty}x60" if faulty else "") if faulty else f"{steady}x{WELL + 60}"


@pytest.mark.parametrize(("alert", "more"), CASES)
def test_alert_fires_alone_once_its_fault_has_lasted(tmp_path: Path, alert: str, more: dict[str, str]) -> None:
    fault = {**FAULTS[alert], **more}
    fires = WELL + 1 + _minutes(alert)

    def firing(minute: int, *names: str) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
        expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
        return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}

    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series, "values": _values(value, fault.get(series))} for series, value in HEALTHY.items()
                ],
                "promql_expr_test": [firing(WELL), firing(fires - 1), firing(fires, alert), firing(fires + 20, alert)],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test), encoding="utf-8")
    tested = subprocess.run([program("promtool"), "test", "rules", file], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


# --- while faults are made: the same rules, that do not wait for minutes and for gigabytes ---

SOONER = {
    "for: 3m": "for: 2s",
    "for: 5m": "for: 2s",
    "for: 10m": "for: 2s",
    "timestamp_seconds > 300": "timestamp_seconds > 5",
    "limit > 0.9": "limit > 0.000001",
    "0.8 * ": "0.02 * ",
    "bytes > 1e10": "bytes > 5e7",
}


def _sooner() -> str:
    rules = RULES.read_text(encoding="utf-8")
    for written, instead in SOONER.items():
        assert written in rules
        rules = rules.replace(written, instead)
    return rules


class Faults:
    """Makes the fault of an alert; until the end of the context, or, as a message, until a run has received it."""

    def __init__(
        self,
        pipeline: Pipeline,
        dagsters: Database,
        instance: dg.DagsterInstance,
        body: Body,
        proxies: tuple[TcpProxy, SqsProxy],
    ) -> None:
        self._pipeline = pipeline
        self._dagsters = dagsters
        self._instance = instance
        self._body = body
        # In front of the database and of SQS.
        self._database, self._sqs = proxies

    def run(self, job: str = "login_job") -> None:
        assert run(job, self._instance).passed

    @contextmanager
    def dagster_unreadable(self) -> Iterator[None]:
        self._dagsters.query("ALTER TABLE runs RENAME TO gone")
        yield
        self._dagsters.query("ALTER TABLE gone RENAME TO runs")

    @contextmanager
    def database_down(self) -> Iterator[None]:
        """And so runs fail."""
        self._pipeline.queue.send(self._body())
        self._database.accepting = False
        for _ in range(3):
            assert run("login_job", self._instance).failures
        yield
        self._database.accepting = True
        self.run()

    @contextmanager
    def queue_down(self) -> Iterator[None]:
        with self._sqs.breaking("GetQueueAttributes", UNAVAILABLE):
            yield

    @contextmanager
    def job_fails(self) -> Iterator[None]:
        self._pipeline.set(LOGIN_INBOX_DAYS=1)
        assert run("inbox_pruning_job", self._instance).failures
        yield
        self._pipeline.set(LOGIN_INBOX_DAYS=None)
        self.run("inbox_pruning_job")

    @contextmanager
    def runs_fail(self) -> Iterator[None]:
        self._pipeline.set(LOGIN_MASKING_KEY="no key")
        for _ in range(3):
            assert run("login_job", self._instance).failures
        yield
        self._pipeline.set(LOGIN_MASKING_KEY=MASKING_KEY)
        self.run()

    @contextmanager
    def runs_wait(self) -> Iterator[None]:
        waiting = self._instance.create_run_for_job(defs.resolve_job_def("login_job"))
        yield
        self._instance.delete_run(waiting.run_id)

    @contextmanager
    def queue_stalled(self) -> Iterator[None]:
        self._pipeline.queue.send(self._body())
        yield
        self.run()

    @contextmanager
    def logins_late(self) -> Iterator[None]:
        """One that was redriven, so it keeps its first time."""
        sent = str(round(datetime.now(UTC).timestamp() - 7200) * 1000)
        attributes = {"reason": "malformed.ip", "original_message_id": "a4e1c2f0-93b7-4d52-8c1e-5f60718293a4"}
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self._pipeline.queue.send(
            self._body(), **typed, original_sent_timestamp={"DataType": "Number", "StringValue": sent}
        )
        self.run()
        yield
        self.run()

    @contextmanager
    def queue_in_flight(self) -> Iterator[None]:
        queue = self._pipeline.queue
        queue.send(self._body())
        (message,) = queue.client.receive_message(QueueUrl=queue.url, VisibilityTimeout=600)["Messages"]
        yield
        queue.client.delete_message(QueueUrl=queue.url, ReceiptHandle=message["ReceiptHandle"])

    @contextmanager
    def runs_slow(self) -> Iterator[None]:
        self._pipeline.database.query(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$; CREATE TRIGGER slow BEFORE INSERT ON user_logins "
            "FOR EACH ROW WHEN (NEW.user_id NOT LIKE 'check %') EXECUTE FUNCTION slow()"
        )
        self._pipeline.queue.send(self._body())
        self.run()
        yield
        self._pipeline.database.query("DROP FUNCTION slow CASCADE")
        self._dagsters.query("UPDATE runs SET update_timestamp = update_timestamp - interval '1 hour'")

    @contextmanager
    def dead_letters(self) -> Iterator[None]:
        self._pipeline.queue.send("not a login")
        self.run()
        yield
        self._pipeline.database.query("UPDATE user_logins_dead_letters SET sent_at = sent_at - interval '1 hour'")

    @contextmanager
    def check_failed(self) -> Iterator[None]:
        self._pipeline.database.query("INSERT INTO user_logins (user_id) VALUES ('of no message')")
        assert not run("user_logins_checks_job", self._instance).passed
        yield
        self._pipeline.database.query("DELETE FROM user_logins WHERE user_id = 'of no message'")
        self.run("user_logins_checks_job")

    @contextmanager
    def backup_overdue(self) -> Iterator[None]:
        """The first one, since the first run."""
        self._dagsters.query("UPDATE runs SET create_timestamp = create_timestamp - interval '37 hours'")
        yield
        self.run("user_logins_backup_job")

    @contextmanager
    def masking_key_old(self) -> Iterator[None]:
        self._pipeline.set(LOGIN_MASKING_KEY=f"2020-01-01:{MASKING_KEY}")
        self.run()
        yield
        self._pipeline.set(LOGIN_MASKING_KEY=f"{datetime.now(UTC).date()}:{MASKING_KEY}")
        self.run()

    @contextmanager
    def rows_below_k(self) -> Iterator[None]:
        self._pipeline.set(LOGIN_MIN_GROUP_SIZE=1000)
        self.run("user_logins_checks_job")
        yield
        self._pipeline.set(LOGIN_MIN_GROUP_SIZE=1)
        self.run("user_logins_checks_job")

    @contextmanager
    def dagster_database_large(self) -> Iterator[None]:
        self._dagsters.query("CREATE TABLE large AS SELECT md5(n::text) FROM generate_series(1, 1000000) AS n")
        yield
        self._dagsters.query("DROP TABLE large")


@pytest.mark.timeout(900)
def test_alert_fires_while_its_fault_is_made_and_no_other_does(
    pipeline: Pipeline, dagsters: Database, recorded: dg.DagsterInstance, body: Body, tmp_path: Path
) -> None:
    program("prometheus")
    stack = ExitStack()
    database = stack.enter_context(TcpProxy(pipeline.database.url))
    sqs = stack.enter_context(SqsProxy(pipeline.environment["AWS_ENDPOINT_URL_SQS"]))
    pipeline.set(
        LOGIN_BACKUP_URL=str(tmp_path / "backups"),
        LOGIN_MIN_GROUP_SIZE=1,
        LOGIN_DATABASE_URL=database.url,
        AWS_ENDPOINT_URL_SQS=sqs.endpoint,
    )
    faults = Faults(pipeline, dagsters, recorded, body, (database, sqs))
    pipeline.queue.send(body())
    faults.run()
    faults.run("user_logins_checks_job")
    port, log = free_port(), tmp_path / "log"
    making = {
        faults.backup_overdue: "LoginBackupOverdue",
        faults.dagster_unreadable: "LoginSourceUnreadable",
        faults.database_down: "LoginSourceUnreadable",
        faults.queue_down: "LoginSourceUnreadable",
        faults.runs_fail: "LoginRunsFail",
        faults.job_fails: "LoginJobFails",
        faults.runs_wait: "LoginRunsWait",
        faults.queue_stalled: "LoginQueueStalled",
        faults.logins_late: "LoginsLate",
        faults.queue_in_flight: "LoginQueueInFlight",
        faults.runs_slow: "LoginRunsSlow",
        faults.dead_letters: "LoginDeadLetters",
        faults.check_failed: "LoginCheckFailed",
        faults.masking_key_old: "LoginMaskingKeyOld",
        faults.rows_below_k: "LoginRowsBelowK",
        faults.dagster_database_large: "LoginDagsterDatabaseLarge",
    }
    assert {*making.values(), "LoginMetricsMissing"} == set(ALERTS)
    with stack:
        prometheus = Prometheus(tmp_path / "prometheus", scrapes=port, rules=_sooner())
        stack.callback(prometheus.stop)
        assert _fires(prometheus, "LoginMetricsMissing")  # nothing is served yet
        stack.enter_context(serving(pipeline, port, log))
        for made, alert in making.items():
            with made():
                since = time.monotonic()
                assert _fires(prometheus, alert), (alert, prometheus.alerts(), log.read_text())
                fired = time.monotonic()
            assert _fires(prometheus), (alert, prometheus.alerts())
            name = made.__name__.replace("_", " ")
            print(f"| {name} | `{alert}` | {fired - since:.0f} | {time.monotonic() - fired:.0f} |")  # noqa: T201 - docs/metrics.md
        assert len(prometheus.query('count by (__name__) ({job="login-pipeline"})')) > 20
        for panel in _panels():
            for target in panel["targets"]:
                prometheus.query(target["expr"])


def _panels() -> list[dict[str, Any]]:
    dashboard = (ROOT / "deploy" / "grafana" / "login-pipeline.json").read_text(encoding="utf-8")
    return list(yaml.safe_load(dashboard)["panels"])


def _fires(prometheus: Prometheus, *alerts: str) -> bool:
    """Whether these come to fire, and no other does or is about to, by what was scraped from now on."""
    scraped = f"timestamp(up) > {time.time()} and time() - timestamp(up) > 3"
    return wait_until(
        lambda: bool(prometheus.query(scraped)) and prometheus.alerts() == dict.fromkeys(alerts, "firing"), seconds=90
    )
