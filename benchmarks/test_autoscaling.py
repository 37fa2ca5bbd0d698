"""The simulated day: what docs/scaling.md says of it, and that worse decisions do not keep to that."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
import yaml

from benchmarks.autoscaling.day import Day, Decide, simulate
from benchmarks.autoscaling.parameters import MINUTE, MODEL, Hours
from benchmarks.autoscaling.queue import Queue, Sent
from login_pipeline.defs.decision import Cursor, Decision, Runs, decide
from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth
from login_pipeline_tests import ROOT

DEFAULTS = Settings.model_construct()
TRAFFIC = MODEL.traffic


def promised(sentence: str) -> int:
    """The figure in a sentence of docs/scaling.md."""
    text = " ".join((ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split())
    (figure,) = re.findall(sentence, text)
    return int(figure)


def broken(day: Day) -> list[str]:
    """Which promises of docs/scaling.md the day does not keep."""
    minutes = promised(r"no login is older than (\d+) minutes, not counting")
    runs = promised(r"costs no more than (\d+) failed runs")
    facts = {
        "lost": day.sent != day.ended,
        "old": day.own_age > minutes * MINUTE,
        "failed runs": day.failed(TRAFFIC.no_database) > runs,
    }
    return [fact for fact, is_so in facts.items() if is_so]


@cache
def default_day() -> Day:
    return simulate(DEFAULTS)


def test_defaults_keep_to_what_the_document_says() -> None:
    assert default_day().ended["logins"] > 1e7
    assert default_day().ended["malformed"] > 1e6
    assert broken(default_day()) == []


@pytest.mark.parametrize("minutes", [7, 29, 58])
def test_defaults_keep_to_it_whenever_the_database_comes_back(minutes: int) -> None:
    begin = TRAFFIC.no_database.begin
    traffic = TRAFFIC._replace(no_database=Hours(begin, begin + minutes * MINUTE))
    assert broken(simulate(DEFAULTS, MODEL._replace(traffic=traffic, seed=minutes))) == []


def test_same_seed_gives_the_same_day() -> None:
    assert simulate(DEFAULTS).seconds == default_day().seconds


def test_workers_are_scaled_as_in_kubernetes() -> None:
    *_, scaled = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "autoscaling.yaml").read_text(encoding="utf-8"))
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert MODEL.scaler.min_replicas == scaled["spec"]["minReplicaCount"]
    assert MODEL.scaler.stabilization == behavior["scaleDown"]["stabilizationWindowSeconds"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0


def test_workers_follow_the_queue_from_one_to_the_limit_and_back() -> None:
    day = default_day()
    workers = [second.workers for second in day.seconds]
    assert set(workers[TRAFFIC.silence.begin + 10 * MINUTE : TRAFFIC.silence.end]) == {1}
    assert workers[TRAFFIC.burst.end] == DEFAULTS.max_concurrent_runs
    assert set(workers[TRAFFIC.burst.end + 10 * MINUTE : TRAFFIC.no_database.begin]) == {1}
    changes = sum(before != after for before, after in pairwise(workers))
    assert changes <= 20, "they are started and stopped again and again"


def test_no_run_is_interrupted_by_scaling_down_and_one_that_is_loses_nothing() -> None:
    assert default_day().runs["interrupted"] == []
    hasty = MODEL._replace(scaler=MODEL.scaler._replace(stabilization=15), place=MODEL.place._replace(stop_seconds=0))
    day = simulate(DEFAULTS, hasty)
    assert day.runs["interrupted"]
    assert broken(day) == []


def one_run(depth: QueueDepth, runs: Runs, before: Cursor, settings: Settings, now: datetime) -> Decision:
    decision = decide(depth, runs, before, settings, now)
    return decision._replace(wanted=min(decision.wanted, 1))


def no_pause(depth: QueueDepth, runs: Runs, before: Cursor, settings: Settings, now: datetime) -> Decision:
    return decide(depth, runs._replace(failing=None), before, settings, now)


def full_batches_only(depth: QueueDepth, runs: Runs, before: Cursor, settings: Settings, now: datetime) -> Decision:
    full = depth.visible // settings.batch_size * settings.batch_size
    return decide(depth._replace(visible=full), runs, before, settings, now)


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [(one_run, "old"), (no_pause, "failed runs"), (full_batches_only, "old")],
    ids=["one run", "no pause", "full batches only"],
)
def test_worse_decision_breaks_a_promise(mutant: Decide, promise: str) -> None:
    assert promise in broken(simulate(DEFAULTS, decide=mutant))


def test_pause_of_a_quarter_of_an_hour_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("login_pipeline.defs.decision.MAX_PAUSE", timedelta(minutes=15))
    assert "old" in broken(simulate(DEFAULTS))


def drop(queue: Queue, batch: list[Sent], now: int) -> None:
    queue.delete(sum(each.messages for each in batch))


@pytest.mark.parametrize("what", [drop, lambda *_: None], ids=["dropped", "held without an end"])
def test_model_that_does_not_release_loses_messages(what: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queue, "release", what)
    assert "lost" in broken(simulate(DEFAULTS))
