"""Where each message that was sent is now. Pure: what was found is given."""

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from login_pipeline_tests.chaos.messages import Draft


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


def account(
    sent: Mapping[str, Draft], *, rows: Mapping[str, int], letters: Mapping[str, int], on_queue: Set[str]
) -> Account:
    """Accounts for each message; those with equal bodies are counted together: nothing distinguishes their rows.

    A message that is on the queue and has its place already is not waiting: its next delivery only deletes it.

    Args:
        sent: By MessageId.
        rows: How many there are, by user_id.
        letters: How many dead letters there are, by the MessageId of the first sending.
        on_queue: The MessageIds of the first sending.
    """
    strangers = (rows.keys() - {each.user_id for each in sent.values()}) | (letters.keys() - sent.keys())
    copies = sum(count - 1 for count in letters.values())
    result = Account(sent=len(sent), copies=copies, wrong=len(strangers))
    equal: dict[Draft, list[str]] = defaultdict(list)
    for message_id, each in sent.items():
        equal[each].append(message_id)
    for each, message_ids in equal.items():
        loaded = rows.get(each.user_id, 0)
        quarantined = len(letters.keys() & message_ids)
        missing = len(message_ids) - loaded - quarantined
        waiting = min(max(missing, 0), len(on_queue & set(message_ids)))
        result.loaded += loaded
        result.quarantined += quarantined
        result.waiting += waiting
        unwanted = quarantined if each.valid else loaded
        for name, count in {"wrong": unwanted, "lost": missing - waiting, "twice": -missing}.items():
            if count > 0:
                setattr(result, name, getattr(result, name) + count)
                result.examples[name] += message_ids
    return result
