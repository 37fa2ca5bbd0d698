"""What to say, and when: from what is wrong now, and from what was said before. Pure.

A condition begins, lasts and is over: that makes two messages, and a reminder an hour between them. One that comes and
goes is one that lasts.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel

# Looks that see a condition before it is said: the restart of a service is over at the second one.
FAILING_LOOKS = 2
# Looks in a row that do not see it before it is over. One that returns within an hour is over after twice as many, up
# to a maximum: so one that comes and goes all day makes two messages an hour once it has come back a few times.
OK_LOOKS, MAX_OK_LOOKS = 10, 60
RELAPSE = timedelta(hours=1)
# From a message to the next one that says nothing new.
REMINDER = timedelta(hours=1)


class Wrong(NamedTuple):
    """Something that is wrong, in codes and counts.

    `sources`: while one is silent, nobody knows whether it is over. `reminds`: whether it alone is worth a reminder.
    """

    says: str
    sources: tuple[str, ...] = ()
    reminds: bool = True


class News(StrEnum):
    """What there is to say of a condition."""

    NEW = "new"
    STILL = "still"
    OVER = "over"


class Condition(BaseModel):
    """Something that was seen wrong. It is kept until its end was said, and then for as long as it may return."""

    says: str
    sources: tuple[str, ...]
    reminds: bool
    since: AwareDatetime
    # Looks that saw it, and looks in a row since then that did not.
    failing: int = 1
    ok: int = 0
    # How many of the latter end it.
    ends_after: int = OK_LOOKS
    announced: bool = False
    # When its end was said.
    ended_at: AwareDatetime | None = None

    @property
    def news(self) -> News | None:
        """What there is to say of it now."""
        if self.failing < FAILING_LOOKS or self.ended_at:
            return None
        if self.ok >= self.ends_after:
            return News.OVER
        return News.STILL if self.announced else News.NEW


class Said(BaseModel):
    """The conditions by name, as they were seen and said, and when a message was delivered last."""

    conditions: dict[str, Condition] = {}
    at: AwareDatetime | None = None


class Decision(NamedTuple):
    """The message, or None; and what to remember where it was delivered, and where it was not."""

    message: str | None
    delivered: Said
    undelivered: Said


def decide(wrong: Mapping[str, Wrong], silent: Collection[str], before: Said, now: datetime) -> Decision:
    """What to say after a look that saw what is `wrong`, by name, and heard nothing of the sources in `silent`.

    A message has all that is wrong, and what is over. Only what this look saw makes a reminder. What is over before it
    could be delivered is said all the same.
    """
    seen = {
        name: condition
        for name in sorted(before.conditions.keys() | wrong.keys())
        if (condition := _after_a_look(before.conditions.get(name), wrong.get(name), silent, now))
    }
    undelivered = Said(conditions=seen, at=before.at)
    changed = any(condition.news in {News.NEW, News.OVER} for condition in seen.values())
    reminds = any(seen[name].news is News.STILL and seen[name].reminds for name in wrong)
    reminded = before.at is not None and now - REMINDER < before.at <= now
    if not changed and (reminded or not reminds):
        return Decision(None, undelivered, undelivered)
    said = {name: _as_said(condition, now) for name, condition in seen.items()}
    return Decision(_message(seen, now), Said(conditions=said, at=now), undelivered)


def _after_a_look(
    known: Condition | None, wrong: Wrong | None, silent: Collection[str], now: datetime
) -> Condition | None:
    """The condition as it is now; None where there is none."""
    may_return = bool(known and known.ended_at and now - RELAPSE < known.ended_at <= now)
    if wrong and (known is None or known.ended_at):
        ends_after = min(2 * known.ends_after, MAX_OK_LOOKS) if known and may_return else OK_LOOKS
        return Condition(**wrong._asdict(), since=now, ends_after=ends_after)
    if known is None or known.ended_at:
        return known if may_return else None
    if wrong:
        return known.model_copy(update={**wrong._asdict(), "failing": known.failing + 1, "ok": 0})
    if not {*known.sources}.isdisjoint(silent):
        return known
    seen = known.model_copy(update={"ok": known.ok + 1})
    return seen if seen.failing >= FAILING_LOOKS or seen.ok < seen.ends_after else None


def _as_said(condition: Condition, now: datetime) -> Condition:
    if condition.news is News.OVER:
        return condition.model_copy(update={"announced": True, "ended_at": now})
    return condition.model_copy(update={"announced": condition.announced or condition.news is News.NEW})


def _message(conditions: Mapping[str, Condition], now: datetime) -> str:
    """A line a condition, in the order of News."""
    lines = [
        f"{news}: {condition.says} ({_when(condition, now)})"
        for news in News
        for condition in conditions.values()
        if condition.news is news
    ]
    wrong = sum(condition.news in {News.NEW, News.STILL} for condition in conditions.values())
    return "\n".join([f"login-pipeline: {wrong} wrong" if wrong else "login-pipeline: all is well again", *lines])


def _when(condition: Condition, now: datetime) -> str:
    since = f"since {condition.since:%Y-%m-%d %H:%M} UTC"
    return f"{since}, until {now:%H:%M}" if condition.news is News.OVER else since
