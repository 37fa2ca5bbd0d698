"""What may happen to messages between the queue and the table, as rules; and where they must be after each.

All follows from the ledger: a login's row is there exactly when a load with it was committed, a letter only for what
is or was no login, or is too old to tell; and what has neither is still on the queue.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date

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

from login_pipeline.ingest.pruning import prune_inbox
from login_pipeline.ingest.redrive import MOVED_BY_SQS
from login_pipeline.logins.event import LoginEvent, Rejection, parse_login
from login_pipeline.masking.methods import Masks
from login_pipeline.privacy.expiry import expire
from login_pipeline.sqs.release_delay import MAX_RELEASE_DELAY
from login_pipeline_tests.exactly_once.ledger import Ledger, Sent, day_of, original_id
from login_pipeline_tests.exactly_once.simulated_sqs import DAY, DEAD_LETTER_QUEUE, QUEUE, Fault, SimulatedSqs, Stored
from login_pipeline_tests.exactly_once.stepped_process import KilledError, SteppedProcess
from login_pipeline_tests.exactly_once.stepped_run import DyingDatabase, stepped_redrive, stepped_run
from login_pipeline_tests.exactly_once.table import Table
from login_pipeline_tests.exactly_once.watch import RunWatch

SLOTS = st.integers(0, 2)
VISIBILITY_TIMEOUT = 100
# Fewer than a real inbox may remember: here messages do come back after it.
INBOX_DAYS = 3
# Fewer than the inbox remembers, and more.
RETENTION_DAYS = st.sampled_from([1, 6])
MALFORMED = {
    "not_json": "{",
    "not_an_object": "[]",
    "missing.user_id": '{"foo": "oops_wrong_msg_type"}',
}
# By how their user_id begins: why they are no row while the table, or the contract, is wrong.
LOGINS = {"user": None, "refused": "refused.check_violation", "mendable": "malformed.app_version"}
KINDS = [*LOGINS, *MALFORMED]
REASONS = st.sampled_from([None, "refused.check_violation", "malformed.app_version", "not_json", MOVED_BY_SQS])
FAULTS = [
    ("receive_message", Fault.UNANSWERED),
    ("send_message_batch", Fault.REFUSED),
    ("send_message_batch", Fault.UNANSWERED),
    ("delete_message_batch", Fault.REFUSED),
    ("delete_message_batch", Fault.UNANSWERED),
]


class DeliveryMachine(RuleBasedStateMachine):
    """Three processes at once, runs and redrives, and all that SQS, the database and an operator may do to them."""

    messages = Bundle("messages")

    def __init__(self, sqs: SimulatedSqs, table: Table, masks: Masks) -> None:
        super().__init__()
        self.sqs = sqs
        self.table = table
        self.masks = masks
        self.ledger = Ledger()
        self.processes: dict[int, SteppedProcess] = {}
        self.corrected = False
        table.empty()
        self._tell_table()

    def parse(self, body: str) -> LoginEvent | Rejection:
        """The contract; once it is corrected it takes a version with a v."""
        return parse_login(body.replace('"v', '"') if self.corrected else body)

    @initialize(max_receive_count=st.sampled_from([None, 3]))
    def redrive_policy(self, max_receive_count: int | None) -> None:
        self.sqs.max_receive_count = max_receive_count

    @rule(target=messages, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4) | st.just(["refused"] * 4))
    def send(self, kinds: list[str]) -> "MultipleResults[str]":
        return multiple(*(self._send(kind) for kind in kinds))

    @rule(message=messages)
    def send_copy(self, message: str) -> None:
        original = self.ledger.sent[message]
        self.sqs.put(QUEUE, original.body, original.attributes(message))

    @rule(slot=SLOTS, steps=st.integers(1, 7), quarantine_first=st.booleans())
    def work(self, slot: int, steps: int, quarantine_first: bool) -> None:
        """The process does its next steps; where there is none, a new run begins."""
        if slot not in self.processes:
            self.processes[slot] = self._run(quarantine_first=quarantine_first, deletes_late=slot == 1)
        self._step(slot, steps)

    @precondition(lambda self: self.sqs.live(DEAD_LETTER_QUEUE))
    @rule(slot=SLOTS, steps=st.integers(3, 12), reason=REASONS, dry_run=st.sampled_from([False, False, True]))
    def redrive(self, slot: int, steps: int, reason: str | None, dry_run: bool) -> None:
        if slot not in self.processes:
            self.processes[slot] = stepped_redrive(self.sqs, reason, dry_run=dry_run)
        self._step(slot, steps)

    @precondition(lambda self: self.processes)
    @rule(slot=SLOTS, end=st.sampled_from([SteppedProcess.kill, SteppedProcess.interrupt, SteppedProcess.finish]))
    def end(self, slot: int, end: Callable[[SteppedProcess], None]) -> None:
        if slot in self.processes:
            end(self.processes.pop(slot))

    @rule(fault=st.sampled_from(FAULTS))
    def sqs_fails(self, fault: tuple[str, Fault]) -> None:
        operation, kind = fault
        self.sqs.faults[operation] = kind

    @rule(seconds=st.sampled_from([10, 50, VISIBILITY_TIMEOUT, MAX_RELEASE_DELAY, DAY, 5 * DAY, 10 * DAY]))
    def time_passes(self, seconds: int) -> None:
        """No process lives for days: its messages' visibility ends it, or run monitoring does."""
        while seconds >= DAY and self.processes:
            self.processes.popitem()[1].kill()
        self._pass_time(seconds)

    @rule(message=messages)
    def sqs_delivers_again(self, message: str) -> None:
        for stored in self.sqs.queues[QUEUE]:
            if _id(stored) == message:
                self.sqs.deliver_again(stored)

    @rule()
    def sqs_moves_dead_letters_back(self) -> None:
        """Those with a reason. One that SQS's own policy moved would lose its id by it, and be another message."""
        for _, _, letter in list(self._letters()):
            self.sqs.move_back(letter)

    @rule(refusing=st.booleans())
    def table_refuses(self, refusing: bool) -> None:
        self.ledger.refusing = refusing
        self._tell_table()

    @precondition(lambda self: not self.corrected)
    @rule()
    def contract_is_corrected(self) -> None:
        """A new release: what runs is ended first."""
        while self.processes:
            self.processes.popitem()[1].interrupt()
        self.corrected = True

    @rule(transactions=st.none() | st.integers(1, 5))
    def inbox_is_pruned(self, transactions: int | None) -> None:
        """To its end, or killed before one of its transactions."""
        ledger, now = self.ledger, self.sqs.now
        may_go = ledger.forgotten | ledger.dates_to_forget(INBOX_DAYS, now=now)
        with suppress(KilledError):
            prune_inbox(DyingDatabase(transactions), days=INBOX_DAYS)
        dates, keys = self.table.inbox()
        gone = ledger.keys.keys() - keys
        assert dates <= may_go, "a date is forgotten too early"
        assert {ledger.sent[message].day for message in gone} <= dates, "a key is forgotten too early"
        if transactions is None:
            assert dates == may_go, "a date is not forgotten"
            assert not {ledger.sent[message].day for message in keys} & dates, "a key is not forgotten"
        ledger.forget(dates, keys, INBOX_DAYS, now=now)

    @precondition(lambda self: self.ledger.rows)
    @rule(later=st.sampled_from([0, DAY, 7 * DAY]), days=RETENTION_DAYS, transactions=st.none() | st.integers(3, 7))
    def rows_expire(self, later: int, days: int, transactions: int | None) -> None:
        """Some days later. To the end, or killed before one of its transactions, once it knows what is due."""
        self.time_passes(later)
        ledger = self.ledger
        due = ledger.dates_to_expire(days, now=self.sqs.now)
        with suppress(KilledError):
            expire(DyingDatabase(transactions), days=days)
        until = self.table.expired_until() or date.min
        left = {row[-1] for row in self.table.rows()}
        gone = {ledger.sent[message].day for message in ledger.rows} - left
        assert gone <= due, "a date expires too early"
        assert gone == due or transactions is not None, "a date does not expire"
        assert until in {ledger.expired_until, max(due, default=date.min)}, "another date is closed"
        assert max(gone, default=date.min) <= until, "rows expire of a date that is open"
        assert ledger.keys.keys() == self.table.inbox()[1], "an expiry forgets a key"
        assert self.table.agrees(), "rows and inbox disagree"
        ledger.expire(gone, until)

    @invariant()
    def every_promise_is_kept(self) -> None:
        self._check_rows()
        self._check_places()
        self._check_letters()
        assert self.ledger.broken == [], "; ".join(self.ledger.broken)

    def teardown(self) -> None:
        """With nothing left to go wrong every message comes to its one place, in a bounded number of runs."""
        failing = sys.exc_info()[0] is not None
        for process in self.processes.values():
            process.kill()
        if not failing:
            self._mend_all()
            self._drain()
            self.every_promise_is_kept()
            self._redrive_all()
            self.every_promise_is_kept()
            self._check_end()

    def _check_rows(self) -> None:
        """One each, with the right masks and the date of the first sending, and nothing else."""
        ledger = self.ledger
        assert ledger.rows <= ledger.sent.keys(), "a row for a message that was never sent"
        assert self.table.rows() == Counter(ledger.sent[message].row for message in ledger.rows), "other rows"

    def _check_places(self) -> None:
        places = self.ledger.rows | self.ledger.expired | self._on(QUEUE) | self._on(DEAD_LETTER_QUEUE)
        forgotten_by_sqs = {_id(stored) for stored in self.sqs.expired}
        assert self.ledger.sent.keys() - places - forgotten_by_sqs == set(), "lost"

    def _check_letters(self) -> None:
        for message, reason, letter in self._letters():
            assert message in self.ledger.sent, "a dead letter for a message that was never sent"
            original = self.ledger.sent[message]
            sent = letter.attributes["original_sent_timestamp"]["StringValue"]
            assert (letter.body, sent) == (original.body, str(original.sent * 1000)), "another dead letter"
            assert self.ledger.may_be_dead_letter(message, reason), "a dead letter without its reason"

    def _check_end(self) -> None:
        """Each login has its row; what nobody can tell of has a letter, and nothing else is in two places."""
        letters = self._on(DEAD_LETTER_QUEUE)
        forgotten_by_sqs = {_id(stored) for stored in self.sqs.expired}
        for message, sent in self.ledger.sent.items():
            if not self.ledger.is_forgotten(message) and message not in forgotten_by_sqs:
                assert (message in self.ledger.rows) == (sent.row is not None), "not where it belongs"
                assert (message in letters) == (sent.row is None), "in two places"

    def _mend_all(self) -> None:
        self.ledger.refusing, self.corrected = False, True
        self.sqs.faults.clear()
        self.sqs.max_receive_count = None
        self._tell_table()

    def _drain(self) -> None:
        for _ in range(len(self.ledger.sent) + len(self.sqs.live(QUEUE))):
            if not self.sqs.live(QUEUE):
                break
            self._pass_time(MAX_RELEASE_DELAY)
            run = self._run(quarantine_first=True, deletes_late=False)
            run.finish()
            assert run.failures == [], "a run that nothing disturbs fails"
        assert self.sqs.live(QUEUE) == [], "not drained"

    def _redrive_all(self) -> None:
        """Once for each letter that one message has: of equal ones a redrive takes one."""
        letters = Counter(_id(stored) for stored in self.sqs.live(DEAD_LETTER_QUEUE))
        for _ in range(max(letters.values(), default=0)):
            self._pass_time(VISIBILITY_TIMEOUT)
            redrive = stepped_redrive(self.sqs, None, dry_run=False)
            redrive.finish()
            assert redrive.failures == [], "a redrive that nothing disturbs fails"
            self._drain()

    def _run(self, *, quarantine_first: bool, deletes_late: bool) -> SteppedProcess:
        watch = RunWatch(self.sqs, self.ledger)
        return stepped_run(self.sqs, watch, quarantine_first=quarantine_first, deletes_late=deletes_late)

    def _step(self, slot: int, steps: int) -> None:
        process = self.processes[slot]
        for _ in range(steps):
            if process.next_step is not None:
                note(f"process {slot}: {process.next_step}")
                process.step()
        if process.next_step is None:
            del self.processes[slot]

    def _send(self, kind: str) -> str:
        sent = Sent(MALFORMED[kind], self.sqs.now, None, kind) if kind in MALFORMED else self._login(kind)
        message = self.sqs.put(QUEUE, sent.body, {}).message_id
        self.ledger.sent[message] = sent
        return message

    def _login(self, kind: str) -> Sent:
        """A login that no other is equal to."""
        number = len(self.ledger.sent) + 1
        user_id, ip, version = f"{kind}-{number}", f"2001:db8::{number:x}", "v2.3" if kind == "mendable" else "2.3"
        body = {"user_id": user_id, "device_type": "ios", "ip": ip, "device_id": user_id, "app_version": version}
        masks = self.masks
        row = (user_id, "ios", masks.ip(ip), masks.device_id(user_id), None, 2, day_of(self.sqs.now))
        return Sent(json.dumps(body), self.sqs.now, row, LOGINS[kind])

    def _pass_time(self, seconds: int) -> None:
        self.sqs.pass_time(seconds)
        self._tell_table()

    def _tell_table(self) -> None:
        self.table.set_world(now=self.sqs.now, refusing=self.ledger.refusing)

    def _on(self, url: str) -> set[str]:
        return {_id(stored) for stored in self.sqs.live(url)}

    def _letters(self) -> Iterator[tuple[str, str, Stored]]:
        """The original id and the reason of each dead letter that has one; SQS's own redrive policy gives none."""
        for letter in self.sqs.live(DEAD_LETTER_QUEUE):
            if "reason" in letter.attributes:
                yield _id(letter), letter.attributes["reason"]["StringValue"], letter


def _id(stored: Stored) -> str:
    return original_id(stored.message_id, stored.attributes)
