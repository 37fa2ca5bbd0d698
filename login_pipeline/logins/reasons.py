"""The reason codes with which messages are on the dead-letter queue."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a message is no login, or no row. What a code is about may follow it: `missing.user_id`."""

    # The body.
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    # An attribute says base64 or gzip, and it is not that, or no UTF-8; or gzip, and it is too long once inflated.
    BAD_ENCODING = "bad_encoding"
    TOO_LARGE = "too_large"
    # A field of the contract, whose name follows.
    MISSING = "missing"
    WRONG_TYPE = "wrong_type"
    EMPTY = "empty"
    TOO_LONG = "too_long"
    BAD_CHARACTER = "bad_character"
    IP_IN_CLEAR = "ip_in_clear"
    MALFORMED = "malformed"
    OUT_OF_RANGE = "out_of_range"
    # PostgreSQL's condition, which follows: `refused.check_violation`, or an SQLSTATE that has no name.
    REFUSED = "refused"
    # The inbox has pruned the message's date, so whether it has a row already cannot be said.
    PRUNED = "older_than_the_inbox"
    # The rows of the message's date have expired (LOGIN_RETENTION_DAYS).
    EXPIRED = "expired"

    def of(self, subject: str) -> str:
        """The code with what it is about, such as `missing.user_id`."""
        return f"{self}.{subject}"


OF_THE_BODY = frozenset(
    {Reason.NOT_JSON, Reason.NOT_AN_OBJECT, Reason.DUPLICATE_KEY, Reason.BAD_ENCODING, Reason.TOO_LARGE}
)
OF_A_CLOSED_DATE = frozenset({Reason.PRUNED, Reason.EXPIRED})
OF_A_FIELD = frozenset(Reason) - OF_THE_BODY - OF_A_CLOSED_DATE - {Reason.REFUSED}
