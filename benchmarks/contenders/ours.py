"""The bare engine: the functions that the assets call, without Dagster: `python -m benchmarks.contenders.ours`.

Batch after batch until the queue is dry, each on the way of a run of login_job (assets.py): received, masked, checked,
the rejects quarantined, the rest loaded and deleted.
"""

import sys
from contextlib import ExitStack, closing

import pandas as pd

from benchmarks.contenders.meter import Meter
from login_pipeline.ingest.load import BatchLoader, LoadFigures
from login_pipeline.ingest.preflight import check_surroundings
from login_pipeline.ingest.quarantine import QuarantineFigures, quarantine
from login_pipeline.logins.quality import check_batch
from login_pipeline.logins.transform import mask_logins, raw_messages, rejected_messages
from login_pipeline.logs.setup import process_log
from login_pipeline.masking.masker import Masker
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import read_settings
from login_pipeline.sqs.login_queues import LoginQueues


class Engine:
    """What a run works with, from its beginning to its end, and what the four assets do with them."""

    def __init__(self, stack: ExitStack) -> None:
        settings = read_settings()
        self.queues = LoginQueues(settings)
        stack.callback(self.queues.release)
        self.database = stack.enter_context(closing(LoginDatabase(settings, keep_connection=True)))
        self.masker = Masker(settings)
        check_surroundings(self.queues, self.database, self.masker)

    def batch(self) -> tuple[int, bool]:
        """Drains one batch; how many messages it had, and whether the queue is dry."""
        received = self.queues.receive()
        if not received.messages:
            return 0, received.ran_dry
        raw = raw_messages(received.messages)
        logins, _ = mask_logins(raw, self.masker.masks())
        self._check(raw, logins)
        rejected = rejected_messages(raw, logins)
        quarantine(rejected, self.queues, self.database, process_log(), QuarantineFigures())
        BatchLoader(self.database, self.queues, process_log(), LoadFigures()).load(logins, raw)
        return len(raw), received.ran_dry

    @staticmethod
    def _check(raw: pd.DataFrame, logins: pd.DataFrame) -> None:
        """The checks that block the load in every run."""
        failed = [fact.check for fact in check_batch(raw, logins) if not fact.passed]
        if failed:
            raise RuntimeError(f"check failed: {', '.join(failed)}")


def main() -> None:
    """Drains what LOGIN_QUEUE_URL names, by the settings in the environment.

    With --one-batch it is no more than one batch; with --warm-up one batch is drained before the clock starts.
    """
    with ExitStack() as stack:
        engine = Engine(stack)
        if "--warm-up" in sys.argv:
            engine.batch()
        meter = Meter()
        batches, dry = 0, False
        while not dry and not (batches and "--one-batch" in sys.argv):
            messages, dry = engine.batch()
            if messages:
                batches += 1
                meter.progressed()
        meter.tell(batches=batches)


if __name__ == "__main__":
    main()
