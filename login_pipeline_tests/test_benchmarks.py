"""The benchmarks' judge and their account, which must be able to fail; no speed is tested here."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks.__main__ import benchmark
from benchmarks.databases import GivenDatabases
from benchmarks.judge import failures, verdicts
from benchmarks.measurement import Measurement
from benchmarks.measuring import Contender, Scenario, measure
from benchmarks.plan import plan
from benchmarks.plot import draw
from benchmarks.report import sentences
from benchmarks.results import result
from benchmarks.servers import servers
from benchmarks.surroundings import Surroundings
from benchmarks.targets import TARGETS
from login_pipeline.local.ports import wait_until
from login_pipeline_tests.conftest import Database, Servers

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

PLAN = plan(full=False, given_queues=False)
WELL = {
    "plain_0": {"cpu_seconds": 1200.0},
    "ours_0": {"cpu_seconds": 40.0},
    "two_0": {"cpu_seconds": 42.0},
    "ours_15": {"seconds": 1e6 / 15_000},
    "sensor_15": {"seconds": 1e6 / 10_000},
    "backlog_10000": {"cpu_seconds": 41.0},
    "backlog_100000": {"cpu_seconds": 39.0},
    "bare_run_1000": {"process_cpu_seconds": 3.0},
    "dagster_run_1000": {"process_cpu_seconds": 4.5},
    "bare_run_100000": {"process_cpu_seconds": 9.0},
    "dagster_run_100000": {"process_cpu_seconds": 10.9},
}
"""Of a million messages each, so that seconds of CPU are microseconds a message."""


def measured(scenario: str, number: int = 0, **figures: Any) -> Measurement:
    known = {"seconds": 1.0, "cpu_seconds": 1.0, "process_cpu_seconds": 1.0, "messages": 1_000_000} | figures
    return Measurement(scenario, number, server_cpu_seconds=None, database_cpu_seconds=None, **known)


def told(changed: dict[str, dict[str, Any]], memory: tuple[float, ...] = (300, 330, 350, 350, 350)) -> dict[str, Any]:
    """The result of a benchmark in which every target is met, but for what is changed."""
    runs = [measured(name, **(figures | changed.get(name, {}))) for name, figures in WELL.items()]
    runs += [measured("memory", number, idle_mb=200.0, peak_mb=200 + peak) for number, peak in enumerate(memory)]
    return result(runs, verdicts(runs, PLAN), PLAN, [])


def test_targets_that_are_met_are_no_complaint() -> None:
    assert {target["met"] for target in told({})["targets"]} == {True}
    assert sentences(told({})) == []


@pytest.mark.parametrize(
    ("target", "scenario", "figures"),
    [
        ("cpu", "ours_0", {"cpu_seconds": 45.1}),
        ("against_plain", "plain_0", {"cpu_seconds": 999.0}),
        ("rate", "ours_15", {"seconds": 1e6 / 11_999}),
        ("two_processes", "two_0", {"cpu_seconds": 44.1}),
        ("dagster_run", "dagster_run_1000", {"process_cpu_seconds": 5.1}),
        ("dagster_run", "dagster_run_100000", {"process_cpu_seconds": 11.1}),
        ("sensor_drain", "sensor_15", {"seconds": 1e6 / 8_999}),
        ("backlog", "backlog_10000", {"cpu_seconds": 43.0}),
        ("backlog", "backlog_100000", {"cpu_seconds": 45.2}),
    ],
)
def test_missed_target_is_named(target: str, scenario: str, figures: dict[str, float]) -> None:
    complaints = sentences(told({scenario: figures}))
    assert any(complaint.startswith(f"Target {target} is missed: ") for complaint in complaints)


@pytest.mark.parametrize(
    ("target", "memory"),
    [("memory", (401, 401, 401, 401, 401)), ("memory_flat", (250, 290, 300, 300, 310, 321))],
)
def test_memory_that_is_too_much_or_grows_is_named(target: str, memory: tuple[float, ...]) -> None:
    (complaint,) = sentences(told({}, memory))
    assert complaint.startswith(f"Target {target} is missed: ")


def test_every_target_is_judged() -> None:
    assert [verdict.target.id for verdict in verdicts([], PLAN)] == [target.id for target in TARGETS]
    assert {verdict.met for verdict in verdicts([], PLAN)} == {None}


def test_ratios_are_of_runs_in_the_same_round() -> None:
    """A machine that is slow for a while makes both slow."""
    runs = [measured("plain_0", 0, cpu_seconds=3000.0), measured("ours_0", 0, cpu_seconds=100.0)]
    runs += [measured("plain_0", 1, cpu_seconds=900.0), measured("ours_0", 1, cpu_seconds=30.0)]
    runs += [measured("plain_0", 2, cpu_seconds=3000.0), measured("ours_0", 2, cpu_seconds=30.0)]
    (verdict,) = (each for each in verdicts(runs, PLAN) if each.target.id == "against_plain")
    assert verdict.measured == {"median": 30.0}


def test_wrong_run_is_named_and_its_speed_counts_for_nothing() -> None:
    runs = [measured("ours_0", cpu_seconds=1.0, problems=["3 logins lost"])]
    assert failures(runs) == ["ours_0, run 1: 3 logins lost"]
    (verdict,) = (each for each in verdicts(runs, PLAN) if each.target.id == "cpu")
    assert verdict.met is None
    told_wrong = result(runs, verdicts(runs, PLAN), PLAN, [])
    assert sentences(told_wrong) == ["A run came to a wrong end: ours_0, run 1: 3 logins lost"]


@pytest.mark.parametrize("scenarios", [[], ["memory"], ["backlog_10000"], ["ours_0"], ["plain_0"]])
def test_part_of_a_benchmark_has_its_plot_too(scenarios: list[str], tmp_path: Path) -> None:
    runs = [measured(name, idle_mb=200.0, peak_mb=300.0) for name in scenarios]
    draw(result(runs, verdicts(runs, PLAN), PLAN, []), tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_what_is_measured_more_than_once_in_a_round_is_compared_in_order() -> None:
    planned = [each.scenario for each in PLAN.planned if each.scenario.name in PLAN.backlogs.values()]
    assert planned == planned[::-1]
    assert {scenario.warm_up for scenario in planned} == {min(PLAN.backlogs)}
    assert len({scenario.settings["LOGIN_BATCH_SIZE"] for scenario in planned}) == 1


@pytest.fixture(scope="module")
def surroundings() -> Iterator[Surroundings]:
    with servers() as started:
        yield started


LOSING = """
import benchmarks.contenders.plain_script as plain, psycopg2
class Losing(psycopg2.extensions.cursor):
    def execute(self, statement, parameters=None):
        self.done = getattr(self, "done", 0) + 1
        for _ in range(%d if self.done == 50 else 1):
            super().execute(statement, parameters)
connect = psycopg2.connect
plain.psycopg2.connect = lambda url: connect(url, cursor_factory=Losing)
plain.main()
"""


@pytest.mark.parametrize(
    ("times", "problems"),
    [
        (1, []),
        (0, ["189 rows instead of 190", "1 logins lost"]),
        (2, ["191 rows instead of 190", "1 rows twice"]),
    ],
)
def test_contender_that_loses_or_doubles_a_message_is_found(
    surroundings: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, problems: list[str]
) -> None:
    (tmp_path / "losing.py").write_text(LOSING % times)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(Path.cwd()))))
    contender = Contender("losing", with_inbox=False, keeps_rejects=False)
    run = measure(Scenario("losing", contender, 200, 0), surroundings, 0)
    assert run.problems[:2] == problems


def test_contender_that_crashes_is_found(surroundings: Surroundings) -> None:
    run = measure(Scenario("none", Contender("no_such_module", True, True), 40, 0), surroundings, 0)
    assert run.problems[0].startswith("a process ended with exit code 1 (")
    assert "40 messages not deleted" in run.problems


def exit_code(*arguments: str) -> int:
    try:
        return benchmark(arguments)
    except SystemExit as wrong_arguments:
        return int(wrong_arguments.code or 0)


def test_small_benchmark_writes_its_result_and_its_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "result.json"
    scenarios = ("plain_0", "overlapped_0", "ours_0", "two_0")
    code = exit_code("--messages", "200", "--runs", "1", "--output", str(output), "--only", *scenarios)
    written = json.loads(output.read_text())
    assert written["failed_runs"] == []
    assert list(written["scenarios"]) == list(scenarios)
    missed = [target["id"] for target in written["targets"] if target["met"] is False]
    assert code == (1 if missed else 0)
    told = capsys.readouterr().err
    assert all(f"Target {target} is missed" in told for target in missed)
    ours = written["runs"][2]
    assert ours["server_cpu_seconds"] > 0
    assert ours["database_cpu_seconds"] >= 0
    assert ours["peak_mb"] > ours["idle_mb"] > 0
    assert "client CPU a message" in output.with_suffix(".svg").read_text()


def test_given_servers_are_left_as_they_were(
    tmp_path: Path, servers: Servers, database: Database, sqs_client: "SQSClient"
) -> None:
    database.query("CREATE TABLE user_logins (is_mine integer)")
    before = database.query("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")
    output = tmp_path / "result.json"
    exit_code(
        *("--endpoint-url", servers.sqs_endpoint, "--database-url", database.url),
        *("--messages", "200", "--runs", "1", "--output", str(output), "--only", "plain", "ours"),
    )
    written = json.loads(output.read_text())
    assert written["failed_runs"] == []
    assert written["runs"][0]["server_cpu_seconds"] is None
    assert any("--endpoint-url" in sentence for sentence in written["left_out"])
    assert database.query("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'") == before
    assert database.query("SELECT count(*) FROM user_logins") == [(0,)]
    assert sqs_client.list_queues(QueueNamePrefix="bench-").get("QueueUrls", []) == []


@pytest.fixture
def role_url(database: Database) -> Iterator[str]:
    """Of the database, for a role that may create no other one."""
    name = f"bench_role_{uuid.uuid4().hex}"
    database.query(f"CREATE ROLE {name} LOGIN PASSWORD 'no-secret'")
    host = database.url.rpartition("@")[2]
    yield f"postgresql://{name}:no-secret@{host}"
    database.query(f"DROP OWNED BY {name}")
    database.query(f"DROP ROLE {name}")


def test_role_that_may_create_no_database_gets_a_schema(database: Database, role_url: str) -> None:
    role = role_url.split("//")[1].split(":")[0]
    (name,) = database.query("SELECT current_database()")[0]
    database.query(f"GRANT CREATE ON DATABASE {name} TO {role}")
    database.query("CREATE TABLE user_logins (is_mine integer)")
    with GivenDatabases(role_url).fresh() as url:
        Database(url).query("CREATE TABLE user_logins (is_the_benchmark_s integer)")
    assert database.query("SELECT is_mine FROM user_logins") == []
    assert database.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bench%'") == []


def test_role_that_may_create_nothing_is_told_so(role_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--database-url", role_url) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("The role of --database-url may create neither a database nor a schema")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--endpoint-url", "garbage"], "Nobody speaks SQS at --endpoint-url garbage (ValueError)"),
        (["--output", "/proc/no/result.json"], "--output /proc/no/result.json cannot be written ("),
        (["--messages", "many"], "Argument --messages: invalid number value: 'many'"),
        (["--runs", "0"], "must be 1 or more"),
        (["--runs", "many"], "invalid"),
        (["--only", "nothing"], "There is no scenario nothing; name one of plain_0"),
        (["--endpoint-url", "http://127.0.0.1:9"], "Nobody speaks SQS at --endpoint-url http://127.0.0.1:9"),
        (["--database-url", "postgresql://127.0.0.1:9/none"], "does not let the benchmark in"),
    ],
)
def test_what_cannot_be_started_is_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert says in sentence


def test_interrupt_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--messages",
            "20000",
            "--only",
            "ours_15",
            "--output",
            str(tmp_path / "result.json"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    parent = psutil.Process(process.pid)

    def contender_runs() -> bool:
        children = parent.children(recursive=True)
        with suppress(psutil.Error):  # one has just ended
            return any("benchmarks.contenders.ours" in child.cmdline() for child in children)
        return False

    assert wait_until(contender_runs, seconds=60, still_possible=lambda: process.poll() is None)
    children = parent.children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130
    assert errors == "Interrupted; what was started is stopped, and what was made is deleted\n"
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert list(tmp_path.iterdir()) == []
