"""What may happen to messages between the queue and the table, as rules; and where they must be after each, as a model.

The model knows of each message by its original id what it is. All else follows: a login's row is there exactly when a
load with it was committed, a letter is there only for what is no login, and what has neither is still on the queue.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg2
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from login_pipeline.masking import Masks
from login_pipeline_tests.simulated_sqs import DAY, DEAD_LETTER_QUEUE, QUEUE, Fault, SimulatedSqs, Stored
from login_pipeline_tests.stepped_run import SteppedRun

RUNS = st.integers(0, 2)
VISIBILITY_TIMEOUT = 100
MALFORMED = {
    "not_json": "{",
    "not_an_object": "[]",
    "missing.user_id": '{"foo": "oops_wrong_msg_type"}',
}
KINDS = ["user", "refused", *MALFORMED]
"""Logins that the table takes and that it refuses, by how their user_id begins, and what is no login."""
FAULTS = [
    ("receive_message", Fault.UNANSWERED),
    ("send_message_batch", Fault.REFUSED),
    ("send_message_batch", Fault.UNANSWERED),
    ("delete_message_batch", Fault.REFUSED),
    ("delete_message_batch", Fault.UNANSWERED),
]


class Sent(NamedTuple):
    """A message as it was first sent, and what must become of it: a row, or a letter with a reason."""

    body: str
    sent: int
    row: tuple[Any, ...] | None
    reason: str | None

    def attributes(self, message_id: str) -> dict[str, Any]:
        """What a copy of it carries so that it is known again."""
        return {
            "original_message_id": {"DataType": "String", "StringValue": message_id},
            "original_sent_timestamp": {"DataType": "Number", "StringValue": str(self.sent * 1000)},
        }


class Table:
    """The real table, seen with the plain driver, and a trigger that refuses some of its rows while it is on."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        self._cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.user_id LIKE 'refused%' THEN RAISE check_violation; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON user_logins FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    def empty(self) -> None:
        self._cursor.execute("TRUNCATE user_logins, user_logins_inbox; ALTER TABLE user_logins ENABLE TRIGGER refuse")

    def stop_refusing(self) -> None:
        self._cursor.execute("ALTER TABLE user_logins DISABLE TRIGGER refuse")

    def rows(self) -> "Counter[tuple[Any, ...]]":
        self._cursor.execute("SELECT * FROM user_logins")
        return Counter(self._cursor.fetchall())

    def close(self) -> None:
        self._connection.close()


class DeliveryMachine(RuleBasedStateMachine):
    """Three runs at once, and all that SQS, the database and an operator may do to them."""

    messages = Bundle("messages")

    def __init__(self, sqs: SimulatedSqs, table: Table, masks: Masks) -> None:
        super().__init__()
        self.sqs = sqs
        self.table = table
        self.masks = masks
        self.sent: dict[str, Sent] = {}
        self.runs: dict[int, SteppedRun] = {}
        self.over: set[str] = set()
        table.empty()

    @initialize(max_receive_count=st.sampled_from([None, 3]))
    def redrive_policy(self, max_receive_count: int | None) -> None:
        self.sqs.max_receive_count = max_receive_count

    @rule(target=messages, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def send(self, kinds: list[str]) -> "MultipleResults[str]":
        return multiple(*(self._send(kind) for kind in kinds))

    @rule(message=messages)
    def send_copy(self, message: str) -> None:
        original = self.sent[message]
        self.sqs.put(QUEUE, original.body, original.attributes(message))

    @rule(number=RUNS, steps=st.integers(1, 6), quarantine_first=st.booleans())
    def work(self, number: int, steps: int, quarantine_first: bool) -> None:
        """The run does its next steps; where there is none, a new one begins."""
        if number not in self.runs:
            self.runs[number] = SteppedRun(self.sqs, quarantine_first=quarantine_first)
        run = self.runs[number]
        for _ in range(steps):
            if run.next_step is not None:
                note(f"run {number}: {run.next_step}")
                run.step()
        if run.next_step is None:
            self._ended(number)

    @precondition(lambda self: self.runs)
    @rule(number=RUNS, end=st.sampled_from([SteppedRun.kill, SteppedRun.interrupt, SteppedRun.finish]))
    def end(self, number: int, end: Callable[[SteppedRun], None]) -> None:
        if number in self.runs:
            end(self.runs[number])
            self._ended(number)

    @rule(fault=st.sampled_from(FAULTS))
    def sqs_fails(self, fault: tuple[str, Fault]) -> None:
        operation, kind = fault
        self.sqs.faults[operation] = kind

    @rule(seconds=st.sampled_from([10, 50, VISIBILITY_TIMEOUT, DAY, 10 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.sqs.pass_time(seconds)

    @rule(message=messages)
    def sqs_delivers_again(self, message: str) -> None:
        for stored in self.sqs.queues[QUEUE]:
            if original_id(stored) == message:
                self.sqs.deliver_again(stored)

    @rule()
    def sqs_moves_dead_letters_back(self) -> None:
        """Those with a reason. One that SQS's own policy moved would lose its id by it, and be another message."""
        for _, _, letter in list(self._letters()):
            self.sqs.move_back(letter)

    @rule()
    def table_stops_refusing(self) -> None:
        self.table.stop_refusing()

    @invariant()
    def table_has_exactly_the_rows_of_committed_loads(self) -> None:
        """One each, with the right masks and the date of the first sending, and nothing else."""
        committed = self._committed()
        assert committed <= self.sent.keys(), "a row for a message that was never sent"
        assert self.table.rows() == Counter(self.sent[message].row for message in committed), "other rows"

    @invariant()
    def every_message_is_somewhere(self) -> None:
        places = self._committed() | self._on(QUEUE) | self._on(DEAD_LETTER_QUEUE)
        forgotten_by_sqs = {original_id(stored) for stored in self.sqs.expired}
        assert self.sent.keys() - places - forgotten_by_sqs == set(), "lost"

    @invariant()
    def dead_letters_say_what_was_sent_and_why_it_is_no_login(self) -> None:
        for message, reason, letter in self._letters():
            assert message in self.sent, "a dead letter for a message that was never sent"
            original = self.sent[message]
            sent = letter.attributes["original_sent_timestamp"]["StringValue"]
            expected = (original.body, original.reason, str(original.sent * 1000))
            assert (letter.body, reason, sent) == expected, "another dead letter"

    def teardown(self) -> None:
        """With nothing left to go wrong every message comes to its one place, in a bounded number of runs."""
        failing = sys.exc_info()[0] is not None
        for run in self.runs.values():
            run.kill()
        if not failing:
            self._drain()
            self.table_has_exactly_the_rows_of_committed_loads()
            self.every_message_is_somewhere()
            self.dead_letters_say_what_was_sent_and_why_it_is_no_login()
            in_letters = {message for message, _, _ in self._letters()}
            assert in_letters & self._committed() == set(), "in two places"

    def _drain(self) -> None:
        self.table.stop_refusing()
        self.sqs.faults.clear()
        self.sqs.max_receive_count = None
        for _ in range(len(self.sent) + len(self.sqs.live(QUEUE))):
            if not self.sqs.live(QUEUE):
                break
            self.sqs.pass_time(VISIBILITY_TIMEOUT)
            run = SteppedRun(self.sqs, quarantine_first=True)
            run.finish()
            assert run.failures == [], "a run that nothing disturbs fails"
            self.over |= run.committed
        assert self.sqs.live(QUEUE) == [], "not drained"

    def _send(self, kind: str) -> str:
        if kind in MALFORMED:
            sent = Sent(MALFORMED[kind], self.sqs.now, None, kind)
        else:
            sent = self._login(f"{kind}-{len(self.sent) + 1}")
        message = self.sqs.put(QUEUE, sent.body, {}).message_id
        self.sent[message] = sent
        return message

    def _login(self, user_id: str) -> Sent:
        """A login that no other is equal to."""
        ip, device_id = f"2001:db8::{len(self.sent) + 1:x}", f"device-{user_id}"
        body = {"user_id": user_id, "device_type": "ios", "ip": ip, "device_id": device_id, "app_version": "2.3.0"}
        sent_on = datetime.fromtimestamp(self.sqs.now, tz=UTC).date()
        row = (user_id, "ios", self.masks.ip(ip), self.masks.device_id(device_id), None, 2, sent_on)
        return Sent(json.dumps(body), self.sqs.now, row, None)

    def _ended(self, number: int) -> None:
        self.over |= self.runs.pop(number).committed

    def _committed(self) -> set[str]:
        return self.over.union(*(run.committed for run in self.runs.values()))

    def _on(self, url: str) -> set[str]:
        return {original_id(stored) for stored in self.sqs.live(url)}

    def _letters(self) -> Iterator[tuple[str, str, Stored]]:
        """The original id and the reason of each dead letter that has one; SQS's own redrive policy gives none."""
        for letter in self.sqs.live(DEAD_LETTER_QUEUE):
            if "reason" in letter.attributes:
                yield original_id(letter), letter.attributes["reason"]["StringValue"], letter


def original_id(stored: Stored) -> str:
    """The id with which it was first sent."""
    own = stored.attributes.get("original_message_id")
    return str(own["StringValue"]) if own else stored.message_id
