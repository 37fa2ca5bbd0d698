"""The model: of each message what it is and whether it has its row; of each date whether it is forgotten or expired."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from login_pipeline.logins.reasons import Reason
from login_pipeline.postgres.copy import Loaded
from login_pipeline_tests.exactly_once.simulated_sqs import DAY


class Sent(NamedTuple):
    """A message as it was first sent, at `sent` seconds since the epoch.

    `row` is its row once nothing is wrong, or None for what is no login; `reason` is why it may be a dead
    letter until then, or forever.
    """

    body: str
    sent: int
    row: tuple[Any, ...] | None
    reason: str | None

    @property
    def day(self) -> date:
        return day_of(self.sent)

    def attributes(self, message_id: str) -> dict[str, Any]:
        """What a copy of it carries so that it is known again."""
        return {
            "original_message_id": {"DataType": "String", "StringValue": message_id},
            "original_sent_timestamp": {"DataType": "Number", "StringValue": str(self.sent * 1000)},
        }


class Ledger:
    """What was done so far.

    `keys` are those that the inbox has, with the time of their load; `expired` are messages whose rows have expired,
    and no message of a date until `expired_until` is loaded; `settled` are the sendings that are on the dead-letter
    queue for good, with the time of it; `recording` are those whose record is not committed yet; `broken` are promises
    that a process broke.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.refusing = True
        self.rows: set[str] = set()
        self.keys: dict[str, int] = {}
        self.forgotten: set[date] = set()
        self.expired: set[str] = set()
        self.expired_until = date.min
        self.settled: dict[str, int] = {}
        self.recording: set[str] = set()
        self.broken: list[str] = []

    def loaded(self, messages: Sequence[str], loaded: Loaded, *, now: int) -> None:
        """A load of these messages was committed: nobody is refused but for a reason of his own."""
        taken = set(messages) - loaded.refused.keys() - set(loaded.not_tried)
        if any(self.is_forgotten(message) for message in taken - self.keys.keys()):
            self.broken.append("a message of a closed date is loaded")
        self.rows |= taken - self.expired
        self.keys |= {message: now for message in taken if message not in self.keys}
        for message, reason in loaded.refused.items():
            if message not in self.keys and reason not in self._reasons_now(message):
                self.broken.append(f"a row is refused for {reason}")
            if message in self.keys:
                self.broken.append("a row is refused that is there already")

    def dates_to_forget(self, days: int, *, now: int) -> set[date]:
        """Dates so long ago whose keys were all loaded so long ago."""
        last_load: dict[date, int] = {}
        for message, loaded_at in self.keys.items():
            day = self.sent[message].day
            last_load[day] = max(loaded_at, last_load.get(day, 0))
        return {
            day
            for day, loaded_at in last_load.items()
            if (day_of(now) - day).days > days and now - loaded_at > days * DAY
        }

    def forget(self, dates: set[date], keys: set[str], days: int, *, now: int) -> None:
        """The inbox has these keys left, and these dates are closed; what was settled long ago is forgotten, too."""
        self.forgotten = dates
        self.keys = {message: loaded_at for message, loaded_at in self.keys.items() if message in keys}
        self.settled = {sending: at for sending, at in self.settled.items() if now - at <= days * DAY}

    def dates_to_expire(self, days: int, *, now: int) -> set[date]:
        """Dates so long ago that have rows."""
        return {day for message in self.rows if (day_of(now) - (day := self.sent[message].day)).days > days}

    def expire(self, dates: set[date], until: date) -> None:
        """The rows of these dates are gone, and none until this one is open."""
        gone = {message for message in self.rows if self.sent[message].day in dates}
        self.expired |= gone
        self.rows -= gone
        self.expired_until = until

    def may_be_dead_letter(self, message: str, reason: str) -> bool:
        """Whether a letter about it may have this reason."""
        return reason == self.sent[message].reason or reason in self._closed(message)

    def is_forgotten(self, message: str) -> bool:
        """Whether it is no longer known if it has or had its row; only these may have a letter beside it forever."""
        return self._closed(message) != set()

    def _closed(self, message: str) -> set[str]:
        """Why its date is closed to it. An expired date says so for as long as its letters are kept."""
        sent = self.sent[message]
        if sent.row is None:
            return set()
        pruned = {Reason.PRUNED} if sent.day in self.forgotten else set()
        return pruned | ({Reason.EXPIRED} if sent.day <= self.expired_until else set())

    def _reasons_now(self, message: str) -> set[str]:
        sent = self.sent.get(message)
        if sent is None:
            return set()
        closed = {Reason.EXPIRED} if sent.row and sent.day <= self.expired_until else self._closed(message)
        return closed | ({sent.reason} if sent.reason is not None and self.refusing else set())


def original_id(message_id: str, attributes: Mapping[str, Any]) -> str:
    """The id with which it was first sent."""
    own = attributes.get("original_message_id")
    return str(own["StringValue"]) if own else message_id


def day_of(seconds: int) -> date:
    return datetime.fromtimestamp(seconds, tz=UTC).date()
