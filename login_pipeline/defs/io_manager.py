"""Hands values from asset to asset in the memory of one run, and drops them when the run ends.

Dagster's default IO manager would pickle the messages, personal data in clear, to disk. Its in-memory one is
shared by every run of a process and never cleared.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from login_pipeline.defs.failures import as_failure
from login_pipeline.errors import RunError


class RunScopedIOManager(dg.ConfigurableIOManager):
    """Hands values over in the memory of one run; nothing is written to disk."""

    _values: dict[tuple[str, ...], Any] = PrivateAttr(default_factory=dict)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["RunScopedIOManager"]:
        """A memory for one run, dropped at its end."""
        memory = RunScopedIOManager()
        try:
            yield memory
        finally:
            memory._values.clear()
            gc.collect()  # Dagster's and pandas' cycles would keep the batch, in clear, until the collector comes by

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keeps `obj` for this run's later steps."""
        self._values[tuple(context.get_identifier())] = obj

    @as_failure()
    def load_input(self, context: dg.InputContext) -> Any:
        """The value that an earlier step of this run made.

        Raises:
            Failure: that step was not part of this run.
        """
        assert context.upstream_output is not None  # noqa: S101 - Dagster's promise for every asset input
        key = tuple(context.upstream_output.get_identifier())
        if key not in self._values:
            raise RunError(
                f"{context.asset_key.to_user_string()} was not made in this run, and nothing is kept between runs, "
                "because it holds personal data; launch login_job, or materialize all the assets together"
            )
        return self._values[key]
