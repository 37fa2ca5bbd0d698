"""How long what a failover cut off is tried again."""

import time
from types import SimpleNamespace

import pytest

from login_pipeline.errors import DatabaseError
from login_pipeline.postgres import retries
from login_pipeline.postgres.retries import retried


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What is logged. Pauses are short."""
    lines: list[dict[str, str]] = []
    log = SimpleNamespace(warning=lambda event, **bound: lines.append({"event": event, **bound}))
    monkeypatch.setattr(retries, "process_log", lambda: log)
    monkeypatch.setattr(retries, "PAUSES", (0.01, 0.02))
    return lines


class Away:
    """A database that is away for so many seconds."""

    def __init__(self, seconds: float, *, retryable: bool = True) -> None:
        self._until = time.monotonic() + seconds
        self._retryable = retryable
        self.attempts = 0

    def __call__(self) -> str:
        self.attempts += 1
        if time.monotonic() < self._until:
            raise DatabaseError("It is away", retryable=self._retryable)
        return "it is back"


def test_attempts_go_on_at_the_last_pause_while_there_is_time_and_are_one_line_in_the_log(
    logged: list[dict[str, str]],
) -> None:
    away = Away(0.5)
    assert retried(away, seconds=5) == "it is back"
    assert away.attempts > 10 * len(retries.PAUSES)
    assert logged == [{"event": "waiting_for_database", "because": "It is away"}]


def test_error_is_raised_when_the_time_is_over(logged: list[dict[str, str]]) -> None:
    away = Away(60)
    started = time.monotonic()
    with pytest.raises(DatabaseError, match="It is away"):
        retried(away, seconds=0.3)
    assert away.attempts > 3
    assert time.monotonic() - started <= 0.3


@pytest.mark.parametrize(("retryable", "seconds"), [(False, 60), (True, 0)])
def test_error_that_does_not_pass_or_has_no_time_to_is_raised_at_once(
    logged: list[dict[str, str]], retryable: bool, seconds: float
) -> None:
    away = Away(60, retryable=retryable)
    with pytest.raises(DatabaseError, match="It is away"):
        retried(away, seconds=seconds)
    assert (away.attempts, logged) == (1, [])
