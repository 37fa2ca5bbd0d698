"""The model's queue: messages by the second in which they were sent."""

from heapq import heappop, heappush
from typing import NamedTuple

from login_pipeline.sqs.release_delay import release_delay


class Sent(NamedTuple):
    """Messages that were sent in the same second, and delivered as often."""

    at: int
    deliveries: int
    logins: int
    malformed: int

    @property
    def messages(self) -> int:
        """Of both kinds."""
        return self.logins + self.malformed


class Queue:
    """Delivers what was sent first; what is released comes back after the delay that a real run asks for."""

    def __init__(self) -> None:
        self._visible: list[Sent] = []
        self._delayed: list[tuple[int, Sent]] = []
        self.visible = 0
        self.in_flight = 0

    def send(self, sent: Sent) -> None:
        """Some messages of this second."""
        if sent.messages:
            heappush(self._visible, sent)
            self.visible += sent.messages

    def receive(self, most: int) -> list[Sent]:
        """One batch."""
        batch: list[Sent] = []
        while most and self._visible:
            first = heappop(self._visible)
            taken = min(first.messages, most)
            malformed = first.malformed * taken // first.messages
            part = Sent(first.at, first.deliveries + 1, taken - malformed, malformed)
            self.visible -= first.messages
            self.in_flight += taken
            self.send(first._replace(logins=first.logins - part.logins, malformed=first.malformed - malformed))
            batch.append(part)
            most -= taken
        return batch

    def delete(self, messages: int) -> None:
        """Some that were received."""
        self.in_flight -= messages

    def release(self, batch: list[Sent], now: int) -> None:
        """Some that were received: SQS counts them as in flight until they are visible again."""
        for each in batch:
            if each.messages:
                heappush(self._delayed, (now + release_delay(each.deliveries), each))

    def look(self, now: int) -> None:
        """What was released long enough ago is visible again."""
        while self._delayed and self._delayed[0][0] <= now:
            _, each = heappop(self._delayed)
            self.in_flight -= each.messages
            self.send(each)

    def oldest(self) -> int | None:
        """When the first of the logins that no run holds was sent."""
        if self._visible and self._visible[0].logins and not self._delayed:
            return self._visible[0].at
        waiting = (*self._visible, *(each for _, each in self._delayed))
        return min((each.at for each in waiting if each.logins), default=None)
