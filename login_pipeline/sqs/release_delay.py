"""How long a message that a run could not finish stays invisible, so that the next run does not fail by it at once."""

# Seconds, doubled with each delivery.
RELEASE_DELAY = 10
MAX_RELEASE_DELAY = 900


def release_delay(receive_count: int) -> int:
    """Seconds until a message that a run released is delivered again."""
    return int(min(RELEASE_DELAY * 2 ** min(receive_count - 1, 30), MAX_RELEASE_DELAY))
