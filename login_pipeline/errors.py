"""The errors that a person sees: each is one sentence that says what is wrong and what to do.

A sentence names settings, message ids, codes and counts; never a message body, a value from one, or a credential.
"""

from collections.abc import Mapping
from typing import Any


class LoginPipelineError(Exception):
    """Something went wrong, and `sentence` says what to do about it.

    `figures`: what was done before. `retryable`: the same may succeed in a moment.
    """

    def __init__(self, sentence: str, figures: Mapping[str, Any] | None = None, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.figures = figures or {}
        self.retryable = retryable


class ConfigurationError(LoginPipelineError):
    """A setting is missing or wrong, or what it names cannot be used; also found in the middle of a run."""


class QueueError(LoginPipelineError):
    """SQS refused a call or did not answer, after the SDK's own retries."""


class DatabaseError(LoginPipelineError):
    """PostgreSQL refused a statement, or did not answer: then a COMMIT may have been done or not."""


class BackupError(LoginPipelineError):
    """A backup cannot be made, read or trusted; what the last one holds is still there."""


class AlertError(LoginPipelineError):
    """A message to people did not arrive, or it is not sure that it did."""


class RunError(LoginPipelineError):
    """A run cannot do what was asked of it, such as materializing one asset without the others."""
