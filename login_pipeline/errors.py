"""The errors that a person sees: each is one sentence that says what is wrong and what to do.

They are Dagster Failures, because Dagster shows a Failure's description as it is, in the UI and with
DAGSTER_REDACT_USER_CODE_ERRORS=1. So a message names settings, message ids, codes and counts; never a
message body, a value from one, or a credential.
"""

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg


class LoginPipelineError(dg.Failure):
    """Something went wrong, and the sentence says what to do about it.

    `figures` say what was done before; `passing` that the same may succeed in a moment.
    """

    def __init__(self, sentence: str, figures: Mapping[str, Any] | None = None, *, passing: bool = False) -> None:
        super().__init__(description=sentence, metadata=figures, allow_retries=False)
        self.sentence = sentence
        self.passing = passing

    def with_figures(self, figures: Mapping[str, Any]) -> Self:
        """The same error, and what was done before it."""
        return type(self)(self.sentence, figures, passing=self.passing)

    def __str__(self) -> str:
        return self.sentence


class ConfigurationError(LoginPipelineError):
    """A setting is missing or wrong, or what it names cannot be used. Nothing was received."""


class QueueError(LoginPipelineError):
    """SQS refused a call or did not answer, after the SDK's own retries."""


class DatabaseError(LoginPipelineError):
    """PostgreSQL refused a statement or did not answer; the transaction was rolled back."""


class BackupError(LoginPipelineError):
    """A backup cannot be made, read or trusted; what the last one holds is still there."""


class RunError(LoginPipelineError):
    """A run cannot do what was asked of it, such as materializing one asset without the others."""
