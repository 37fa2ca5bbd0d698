"""What one run does with the messages that it received, held against what the product promises of it."""

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any, NamedTuple

from login_pipeline.errors import DatabaseError
from login_pipeline.ingest import quarantine
from login_pipeline.logins.reasons import OF_A_CLOSED_DATE
from login_pipeline.postgres import copy as postgres_load
from login_pipeline.postgres.copy import Loaded
from login_pipeline_tests.exactly_once.ledger import Ledger, original_id
from login_pipeline_tests.exactly_once.simulated_sqs import DEAD_LETTER_QUEUE, SimulatedSqs

Arguments = dict[str, Any]


class _Delivery(NamedTuple):
    """One delivery: which message of which sending; `settled` says that only its delete was left to do by then."""

    message: str
    sending: str
    receive_count: int
    settled: bool


class RunWatch:
    """Sees each call of a run to SQS, `after` only where the answer came; and each of its loads and records.

    A sending is settled once it is on the dead-letter queue and the run went on to delete it.
    """

    def __init__(self, sqs: SimulatedSqs, ledger: Ledger) -> None:
        self._sqs = sqs
        self._ledger = ledger
        self._by_handle: dict[str, _Delivery] = {}
        self._newest: dict[str, _Delivery] = {}
        self._dead: dict[str, int] = {}
        self._rows = 0
        self._refused: set[str] = set()

    def loaded(self, messages: Sequence[str], loaded: Loaded) -> None:
        """A load was committed."""
        self._ledger.loaded(messages, loaded, now=self._sqs.now)
        self._rows += loaded.rows
        self._refused |= {message for message, reason in loaded.refused.items() if reason not in OF_A_CLOSED_DATE}

    @contextmanager
    def recording(self, sendings: Set[str]) -> Iterator[None]:
        """Fails at once where the database would wait for another run's record, and then give up."""
        if self._ledger.recording & sendings:
            raise DatabaseError("another run records the same messages")
        self._ledger.recording |= sendings
        try:
            yield
        finally:
            self._ledger.recording -= sendings

    def before(self, operation: str, arguments: Arguments) -> None:
        if operation == "send_message_batch":
            assert arguments["QueueUrl"] == DEAD_LETTER_QUEUE
            for entry in arguments["Entries"]:
                self._check_dead_letter(original_id("", entry["MessageAttributes"]))
        if operation == "delete_message_batch":
            for entry in arguments["Entries"]:
                sending = self._by_handle[entry["ReceiptHandle"]].sending
                if sending in self._dead:
                    self._ledger.settled[sending] = self._dead[sending]

    def after(self, operation: str, arguments: Arguments, answer: Arguments) -> None:
        if operation == "receive_message":
            for received in answer.get("Messages", []):
                sending = received["MessageId"]
                message = original_id(sending, received.get("MessageAttributes", {}))
                count = int(received["Attributes"]["ApproximateReceiveCount"])
                delivery = _Delivery(message, sending, count, sending in self._ledger.settled)
                self._by_handle[received["ReceiptHandle"]] = self._newest[message] = delivery
        if operation == "send_message_batch":
            messages = {entry["Id"]: original_id("", entry["MessageAttributes"]) for entry in arguments["Entries"]}
            for entry in answer["Successful"]:
                dead = self._newest.get(messages[entry["Id"]])
                if dead:
                    self._dead[dead.sending] = self._sqs.now

    def _check_dead_letter(self, message: str) -> None:
        if self._is_distrusted(message):
            self._ledger.broken.append("a dead letter for a row, while the table is taken to be wrong")
        delivery = self._newest.get(message)
        if delivery and delivery.settled and delivery.sending in self._ledger.settled:
            self._ledger.broken.append("a second dead letter for a sending that was on its way out")

    def _is_distrusted(self, message: str) -> bool:
        if self._rows or message not in self._refused or len(self._refused) <= postgres_load.MAX_CREDIBLE_REFUSALS:
            return False
        deliveries = min(quarantine.DELIVERIES, self._sqs.max_receive_count or quarantine.DELIVERIES)
        return self._newest[message].receive_count < deliveries


# None for a redrive, which is judged by where the messages are.
Watch = RunWatch | None
