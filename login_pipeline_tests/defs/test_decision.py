"""How many runs are requested, by a clock and with runs of the test's own."""

from datetime import UTC, datetime, timedelta

from login_pipeline.defs.assets import FRESHNESS
from login_pipeline.defs.decision import FIRST_PAUSE, MAX_PAUSE, Cursor, Runs, decide
from login_pipeline.settings import Settings
from login_pipeline.sqs.queue import QueueDepth

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SETTINGS = Settings.model_construct(batch_size=10, max_concurrent_runs=4)
RUNS = Runs(newest="newest", on_their_way=0, at_work=0, failing=None, limited=True)


class Sensor:
    """Looks at a queue of 1,000 messages, and remembers as the real one does."""

    def __init__(self) -> None:
        self.cursor = Cursor()

    def wanted(self, after: timedelta, runs: Runs = RUNS) -> int:
        """How many runs it requests, so long after the beginning."""
        wanted, _, self.cursor = decide(QueueDepth(1000, 0, 0), runs, self.cursor, SETTINGS, BEGIN + after)
        return wanted

    def pause(self, after: timedelta, failing: str) -> timedelta:
        """How long it requests nothing."""
        runs, paused = RUNS._replace(failing=failing), timedelta(0)
        while not self.wanted(after + paused, runs):
            paused += SECOND
        return paused


def test_pause_is_doubled_by_a_run_that_fails_after_it_up_to_a_maximum() -> None:
    sensor, now, pauses = Sensor(), timedelta(0), []
    for run in range(5):
        pauses.append(sensor.pause(now, f"run {run}"))
        now += pauses[-1] + SECOND
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE]


def test_runs_that_fail_in_a_pause_make_it_no_longer() -> None:
    """Eight that were at work when the database went away fail one after another."""
    sensor = Sensor()
    for run in range(8):
        assert sensor.wanted(run * SECOND, RUNS._replace(failing=f"run {run}")) == 0
    assert sensor.wanted(FIRST_PAUSE, RUNS._replace(failing="run 7")) > 0


def test_run_that_succeeds_ends_the_pause_and_the_next_one_is_short_again() -> None:
    sensor = Sensor()
    sensor.pause(timedelta(0), "run 0")
    sensor.wanted(FIRST_PAUSE + SECOND, RUNS._replace(failing="run 1"))
    assert sensor.wanted(FIRST_PAUSE + 2 * SECOND) > 0
    assert sensor.pause(FIRST_PAUSE + 3 * SECOND, "run 2") == FIRST_PAUSE


def test_clock_that_is_set_back_lengthens_no_pause() -> None:
    sensor = Sensor()
    sensor.wanted(timedelta(days=1), RUNS._replace(failing="run 0"))
    assert sensor.pause(timedelta(0), "run 0") == FIRST_PAUSE


def test_runs_wait_for_a_place_only_where_dagsters_queue_keeps_to_the_limit_and_runs_succeed() -> None:
    assert Sensor().wanted(timedelta(0)) == 8
    assert Sensor().wanted(timedelta(0), RUNS._replace(limited=False)) == 4
    failing, sensor = RUNS._replace(failing="run 0"), Sensor()
    sensor.wanted(timedelta(0), failing)
    assert sensor.wanted(FIRST_PAUSE, failing) == 4


def test_idle_queue_gets_a_run_an_hour_after_the_first_one_and_none_before_it() -> None:
    """The table is materialized often enough to be fresh, and stays of unknown freshness where nothing ever ran."""
    empty, hour = QueueDepth(0, 0, 0), timedelta(hours=1)
    assert decide(empty, RUNS._replace(newest=None), Cursor(), SETTINGS, BEGIN).wanted == 0
    cursor = decide(empty, RUNS, Cursor(), SETTINGS, BEGIN).cursor
    before = decide(empty, RUNS, cursor, SETTINGS, BEGIN + hour - SECOND)
    assert before.reason == "The queue has no messages to receive (0 in flight, 0 delayed)"
    assert decide(empty, RUNS, cursor, SETTINGS, BEGIN + hour).wanted == 1
    assert decide(empty, RUNS._replace(on_their_way=1), cursor, SETTINGS, BEGIN + hour).wanted == 0
    assert FRESHNESS.fail_window.to_timedelta() >= 2 * hour
