"""Where each message that was sent is now. Pure: what was found is given."""

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple


class Sent(NamedTuple):
    """What was sent under a MessageId: the user_id that its row has, and whether it is to have a row."""

    user_id: str
    valid: bool


class Found(NamedTuple):
    """What is there: rows by user_id, dead letters by first MessageId, and first MessageIds on the queue."""

    rows: Mapping[str, int]
    letters: Mapping[str, int]
    waiting: Set[str]


@dataclass
class Account:
    """Messages by the place where they are; sent = loaded + quarantined + waiting + lost - twice.

    `copies` are further dead letters of a message that has one: SQS has no transaction over two queues, so a
    process that dies between sending one and noting it sends it again. `wrong` counts malformed messages with
    a row, valid ones with a dead letter, and what nobody sent.
    """

    sent: int = 0
    loaded: int = 0
    quarantined: int = 0
    waiting: int = 0
    copies: int = 0
    wrong: int = 0
    lost: int = 0
    twice: int = 0
    # MessageIds of those that are not where they should be.
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def balanced(self) -> bool:
        """Whether every message is in one place, the right one."""
        return not (self.wrong or self.lost or self.twice)


def account(sent: Mapping[str, Sent], found: Found) -> Account:
    """Accounts for each message; those with equal bodies are counted together, as their rows cannot be told apart.

    A message that is on the queue and has its place already is not waiting: its next delivery only deletes it.
    """
    strangers = (found.rows.keys() - {each.user_id for each in sent.values()}) | (found.letters.keys() - sent.keys())
    copies = sum(count - 1 for count in found.letters.values())
    result = Account(sent=len(sent), copies=copies, wrong=len(strangers))
    equal: dict[Sent, list[str]] = defaultdict(list)
    for message_id, each in sent.items():
        equal[each].append(message_id)
    for each, message_ids in equal.items():
        rows = found.rows.get(each.user_id, 0)
        letters = sum(message_id in found.letters for message_id in message_ids)
        missing = len(message_ids) - rows - letters
        waiting = min(max(missing, 0), sum(message_id in found.waiting for message_id in message_ids))
        result.loaded += rows
        result.quarantined += letters
        result.waiting += waiting
        unwanted = letters if each.valid else rows
        for name, count in {"wrong": unwanted, "lost": missing - waiting, "twice": -missing}.items():
            if count > 0:
                setattr(result, name, getattr(result, name) + count)
                result.examples[name] += message_ids
    return result
