"""When something is said: over histories of looks, by a clock of the test's own."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from login_pipeline.alerts.decision import (
    FAILING_LOOKS,
    MAX_OK_LOOKS,
    OK_LOOKS,
    News,
    Said,
    Wrong,
    decide,
)

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUEUE = Wrong("queue: old", ("sqs",))
RUNS = Wrong("runs: 3 failed in a row", ("dagster",))
# What a look sees of a condition: it is wrong, it is not, or its source is silent.
BAD, GOOD, SILENT = "bad", "good", "silent"


class Sensor:
    """Looks once a minute, and remembers as the real one does: as JSON."""

    def __init__(self) -> None:
        self.now = BEGIN
        self.cursor = "{}"
        self.messages: list[tuple[datetime, list[str]]] = []

    def look(self, *wrong: Wrong, silent: Iterable[str] = (), delivers: bool = True) -> list[str]:
        """The lines of the message that was delivered, if any, without its times."""
        self.now += MINUTE
        named = {each.says: each for each in wrong}
        decision = decide(named, [*silent], Said.model_validate_json(self.cursor), self.now)
        delivered = bool(decision.message) and delivers
        self.cursor = (decision.delivered if delivered else decision.undelivered).model_dump_json()
        if not delivered or decision.message is None:
            return []
        head, *lines = (line.split(" (")[0] for line in decision.message.splitlines())
        wrong_lines = [line for line in lines if not line.startswith(News.OVER)]
        assert head == f"login-pipeline: {len(wrong_lines)} wrong" if wrong_lines else "login-pipeline: all is well"
        self.messages.append((self.now, lines))
        return lines

    def looks(self, number: int, *wrong: Wrong, delivers: bool = True) -> list[str]:
        """The lines of all messages of so many looks that see the same."""
        return [line for _ in range(number) for line in self.look(*wrong, delivers=delivers)]


def test_all_is_well_and_nothing_is_said() -> None:
    assert Sensor().looks(200) == []


def test_condition_is_said_when_it_begins_and_when_it_is_over_and_once_an_hour_between() -> None:
    sensor = Sensor()
    assert sensor.look(QUEUE) == []
    assert sensor.look(QUEUE) == ["new: queue: old"]
    assert sensor.looks(59, QUEUE) == []
    assert sensor.look(QUEUE) == ["still: queue: old"]
    assert sensor.looks(OK_LOOKS - 1) == []
    assert sensor.look() == ["over: queue: old"]
    assert sensor.looks(200) == []


def test_message_has_when_it_began_and_when_it_was_over() -> None:
    decision = None
    said = Said()
    for minute in range(2 + OK_LOOKS):
        decision = decide({"queue": QUEUE} if minute < 2 else {}, [], said, BEGIN + minute * MINUTE)
        said = decision.delivered
        if minute == 1:
            assert decision.message == "login-pipeline: 1 wrong\nnew: queue: old (since 2026-01-01 00:00 UTC)"
    assert decision is not None
    assert decision.message == (
        "login-pipeline: all is well again\nover: queue: old (since 2026-01-01 00:00 UTC, until 00:11)"
    )


def test_one_look_that_sees_it_is_not_enough() -> None:
    sensor = Sensor()
    assert sensor.look(QUEUE) == []
    assert sensor.looks(OK_LOOKS) == []
    assert sensor.look(QUEUE) == []


def test_flapping_condition_makes_two_messages_and_a_reminder_an_hour() -> None:
    sensor = Sensor()
    for _ in range(100):
        sensor.looks(1, QUEUE)
        sensor.looks(OK_LOOKS - 1)
    sensor.looks(OK_LOOKS)
    first, *reminders, last = [line for _, lines in sensor.messages for line in lines]
    assert (first, {*reminders}, last) == ("new: queue: old", {"still: queue: old"}, "over: queue: old")
    assert len(reminders) == 100 * OK_LOOKS // 60


def test_condition_that_keeps_returning_is_over_after_ever_more_looks() -> None:
    sensor, needed = Sensor(), []
    for _ in range(5):
        assert sensor.looks(FAILING_LOOKS, QUEUE) == ["new: queue: old"]
        needed.append(next(number for number in range(1, 100) if "over: queue: old" in sensor.look()))
    assert needed == [OK_LOOKS, 2 * OK_LOOKS, 4 * OK_LOOKS, MAX_OK_LOOKS, MAX_OK_LOOKS]
    sensor.looks(60)
    sensor.looks(FAILING_LOOKS, QUEUE)
    assert sensor.looks(OK_LOOKS) == ["over: queue: old"]


def test_reminder_is_of_what_was_seen_at_that_look() -> None:
    sensor = Sensor()
    sensor.looks(56, QUEUE)
    assert sensor.looks(OK_LOOKS) == ["over: queue: old"]
    assert [len(lines) for _, lines in sensor.messages] == [1, 1]


def test_condition_that_is_not_urgent_is_said_once_and_beside_others() -> None:
    sensor, key = Sensor(), Wrong("key: old", ("dagster",), reminds=False)
    assert sensor.looks(500, key) == ["new: key: old"]
    assert sensor.looks(2, key, RUNS) == ["new: runs: 3 failed in a row", "still: key: old"]


def test_second_condition_is_said_at_once_and_with_what_lasts() -> None:
    sensor = Sensor()
    sensor.looks(2, QUEUE)
    assert sensor.looks(2, QUEUE, RUNS) == ["new: runs: 3 failed in a row", "still: queue: old"]
    assert sensor.looks(OK_LOOKS, QUEUE) == ["still: queue: old", "over: runs: 3 failed in a row"]


def test_while_a_source_is_silent_its_conditions_neither_begin_nor_end() -> None:
    sensor = Sensor()
    sensor.looks(2, QUEUE)
    assert [line for _ in range(50) for line in sensor.look(silent=["sqs"])] == []
    assert sensor.looks(OK_LOOKS) == ["over: queue: old"]


def test_what_is_not_delivered_is_said_at_the_next_look() -> None:
    sensor = Sensor()
    assert sensor.looks(5, QUEUE, delivers=False) == []
    assert sensor.look(QUEUE) == ["new: queue: old"]
    assert sensor.looks(OK_LOOKS + 5, delivers=False) == []
    assert sensor.look() == ["over: queue: old"]
    assert sensor.look() == []


def test_what_is_over_before_it_could_be_delivered_is_said_as_over() -> None:
    sensor = Sensor()
    sensor.looks(5, QUEUE, delivers=False)
    sensor.looks(50, delivers=False)
    assert sensor.look() == ["over: queue: old"]
    assert sensor.look() == []


def test_clock_that_is_set_back_silences_nothing() -> None:
    sensor = Sensor()
    sensor.looks(2, QUEUE)
    sensor.now -= timedelta(days=1)
    assert sensor.look(QUEUE) == ["still: queue: old"]


looks = st.lists(
    st.tuples(st.sampled_from([BAD, BAD, GOOD, GOOD, GOOD, SILENT]), st.integers(1, 40), st.booleans()), max_size=40
)


@given(looks)
def test_in_any_history_what_people_know_is_right_and_they_are_not_flooded(
    history: list[tuple[str, int, bool]],
) -> None:
    sensor, known, good_looks, bad_looks = Sensor(), False, 0, 0
    for state, number, delivers in history:
        for _ in range(number):
            good_looks = 0 if state == BAD else good_looks + (state == GOOD)
            bad_looks = bad_looks + 1 if state == BAD else 0
            lines = sensor.look(
                *([QUEUE] if state == BAD else []), silent=["sqs"] if state == SILENT else [], delivers=delivers
            )
            for line in lines:
                assert not (line.startswith(News.NEW) and known)  # nothing is said twice
                assert not (line.startswith(News.STILL) and not known)
                assert not (line.startswith(News.OVER) and good_looks < OK_LOOKS)
                known = not line.startswith(News.OVER)
            if delivers and bad_looks >= FAILING_LOOKS:
                assert known
            if delivers and good_looks >= MAX_OK_LOOKS:
                assert not known
    times = [at for at, _ in sensor.messages]
    hours = (sensor.now - BEGIN) / timedelta(hours=1)
    assert len(times) <= 3 * hours + 8
    still = [at for at, lines in sensor.messages if all(line.startswith(News.STILL) for line in lines)]
    assert all(at - times[times.index(at) - 1] >= timedelta(hours=1) for at in still)


@given(looks)
def test_what_began_is_said_in_the_end_whenever_the_webhook_was_down(history: list[tuple[str, int, bool]]) -> None:
    """Each incident that people were not sent while it lasted is in the first message that arrives."""
    sensor = Sensor()
    for state, number, _ in history:
        sensor.looks(number, *([QUEUE] if state == BAD else []), delivers=False)
    seen = any(c.failing >= FAILING_LOOKS for c in Said.model_validate_json(sensor.cursor).conditions.values())
    began = any(state == BAD and number >= FAILING_LOOKS for state, number, _ in history)
    assert seen or not began
    assert bool(sensor.look()) == seen
