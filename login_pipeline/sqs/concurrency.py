"""How many calls are made at once: more while answers stay fast, fewer when they have to wait for each other."""

import math
from threading import Lock

FIRST, FEWEST = 16, 4
"""Calls at once in the beginning, and at least."""
TOLERANCE = 1.5
"""How much longer than the fastest answer they may take on average before fewer are made at once."""


class Concurrency:
    """The number of calls of one operation.

    In each round of answers it is multiplied by how much slower they were than the fastest one, and its square root is
    added, to try out whether more go. Source: the gradient limit of Netflix's concurrency-limits.
    """

    def __init__(self, most: int, *, by_one_thread: int = 1) -> None:
        """`by_one_thread`: how many calls a thread can make at once, as long as `together` says nothing else."""
        self.most = most
        """How many there ever are."""
        self._most_by_one_thread = self._by_one_thread = by_one_thread
        self._limit = float(min(FIRST, most))
        self._fastest = math.inf
        self._sum, self._answers = 0.0, 0
        self._lock = Lock()

    @property
    def limit(self) -> int:
        """How many calls should be made at once now."""
        return int(self._limit)

    @property
    def threads(self) -> int:
        """How many threads should make them: each makes its share at once, so together never more than the limit."""
        return max(1, self.limit // self._by_one_thread)

    @property
    def calls_of_a_thread(self) -> int:
        """How many each of them should make at once."""
        return min(self.limit, self._by_one_thread)

    def together(self, possible: bool) -> None:
        """Tells whether a thread could make several calls at once; where not, each is to have a thread of its own."""
        self._by_one_thread = self._most_by_one_thread if possible else 1

    def answered(self, seconds: float) -> None:
        """Tells that a call was answered after so many seconds; an empty poll does not count."""
        with self._lock:
            self._fastest = min(self._fastest, seconds)
            self._sum += seconds
            self._answers += 1
            if self._answers >= self._limit:
                self._limit = self._next_limit(self._sum / self._answers)
                self._sum, self._answers = 0.0, 0

    def _next_limit(self, mean: float) -> float:
        as_fast_as_can_be = min(1.0, max(0.5, TOLERANCE * self._fastest / mean))
        limit = self._limit * as_fast_as_can_be + math.sqrt(self._limit)
        return min(max(limit, FEWEST), self.most)
