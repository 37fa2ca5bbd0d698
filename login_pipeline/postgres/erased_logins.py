"""Keeps erased users out of the table: a login that was sent before its user was erased gets no row.

It is no matter where the message is by then: on the login queue, in a run, or on the dead-letter queue and redriven.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from psycopg2 import extensions

from login_pipeline.errors import ConfigurationError
from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import KeyRing, MaskingKey, subject_tokens
from login_pipeline.postgres import statements
from login_pipeline.settings import Settings


def erased_among(
    cursor: extensions.cursor, rows: Sequence[Sequence[object]], sent: Mapping[str, int], settings: Settings
) -> frozenset[str]:
    """The message_ids, the last column, of the rows whose users, the first column, were erased after they were sent.

    It is asked under the lock of a load: an erasure that this does not see yet waits for the load, and looks again.

    Args:
        cursor: In the load's transaction.
        rows: Of users and message_ids.
        sent: When each message was first sent, in milliseconds since the epoch.
        settings: Where the masking keys are; they are read only if somebody was erased since the oldest message.

    Raises:
        ConfigurationError: a key is not there under which somebody was erased, so nobody can say who.
    """
    if not rows:
        return frozenset()
    oldest = min(sent[str(row[-1])] for row in rows)
    cursor.execute(statements.erasures.since, {"moment": datetime.fromtimestamp(oldest / 1000, UTC)})
    erased: dict[str, datetime] = dict(cursor.fetchall())
    if not erased:
        return frozenset()
    key_ids = {subject.partition(".")[0] for subject in erased}
    tokens = [subject_tokens(key) for key in needed_keys(masking_keys(settings), key_ids, "these messages were sent")]
    moments = {subject: moment.timestamp() * 1000 for subject, moment in erased.items()}
    return frozenset(
        str(row[-1]) for row in rows if any(sent[str(row[-1])] < moments.get(token(str(row[0])), 0) for token in tokens)
    )


def needed_keys(ring: KeyRing, key_ids: set[str], since: str) -> list[MaskingKey]:
    """The keys with these ids.

    Raises:
        ConfigurationError: one is not among the masking keys.
    """
    if unknown := sorted(key_id for key_id in key_ids if ring.find(key_id) is None):
        raise ConfigurationError(
            f"Users were erased since {since} under the masking key {', '.join(unknown)}, without which their rows "
            "cannot be recognised; add it behind the active masking key"
        )
    return [key for key in ring if key.id in key_ids]
