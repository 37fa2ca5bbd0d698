"""What a campaign acts on: two queues and a database of its own, what was sent, and runs of the pipeline."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from login_pipeline.local.ports import wait_until
from login_pipeline_tests.at_rest import places
from login_pipeline_tests.at_rest.search import unpacked
from login_pipeline_tests.chaos.changes import retry_at_once
from login_pipeline_tests.chaos.database_server import DatabaseServer
from login_pipeline_tests.chaos.messages import PERSONAL_DATA, Draft, drafts
from login_pipeline_tests.chaos.reconcile import Account, account
from login_pipeline_tests.chaos.run_process import Change, Ended, Orders, RunProcess, Work, drain_queue, run_login_job
from login_pipeline_tests.chaos.seams import Moment
from login_pipeline_tests.conftest import Database, Queue, client_of
from login_pipeline_tests.faults.account import peek
from login_pipeline_tests.faults.sqs_faults import with_request
from login_pipeline_tests.faults.sqs_proxy import SqsProxy
from login_pipeline_tests.faults.tcp_proxy import TcpProxy

# A killed run holds so many messages until their visibility timeout ends.
BATCH_SIZE = 20
# Seconds; the least that the settings allow.
VISIBILITY_TIMEOUT = 30
SETTINGS = {
    "LOGIN_BATCH_SIZE": str(BATCH_SIZE),
    "LOGIN_VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT),
}
# In which a run must end. It takes one.
RUN_SECONDS = 120.0

_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse_{condition}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '%', NEW USING ERRCODE = '{condition}';
    END $$;
    CREATE OR REPLACE TRIGGER refuse_{condition} BEFORE INSERT ON user_logins
    FOR EACH ROW WHEN (NEW.user_id LIKE '{prefix}%') EXECUTE FUNCTION refuse_{condition}();
"""


class World:
    """The world of one campaign. `environment` is what its runs are given, and may be changed between runs."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        *,
        server: DatabaseServer | None = None,
        more_folders: tuple[Path, ...] = (),
    ) -> None:
        """Uses the queues and the database that `environment` names.

        Args:
            environment: The settings, as environment variables.
            folder: Where the runs' output and temporary files go; searched for personal data.
            server: The database's, where faults may break it.
            more_folders: Others to search, such as the database server's.
        """
        self.environment = {**environment, **SETTINGS, "TMPDIR": str(folder / "tmp")}
        # What has Dagster's storage record a run, which takes it twice its time.
        self.recorded = {"DAGSTER_HOME": self.environment.pop("DAGSTER_HOME", "")}
        self.changes: tuple[Change, ...] = ()
        self.server = server
        self.database = Database(environment["LOGIN_DATABASE_URL"])
        client = client_of(environment["AWS_ENDPOINT_URL_SQS"])
        self.queue = Queue(client, environment["LOGIN_QUEUE_URL"])
        self.dead_letter_queue = Queue(client, environment["LOGIN_DEAD_LETTER_QUEUE_URL"])
        self.kills = 0
        self.failures: list[str] = []
        self._databases = [self.database.url]
        if storage := environment.get("LOGIN_DAGSTER_DATABASE_URL"):
            self._databases.append(storage.replace("+psycopg2", ""))
        self._sent: dict[str, Draft] = {}
        # In milliseconds since the epoch, of those that pretend to be of another day.
        self._first_sent: dict[str, int] = {}
        self._output = folder / "output.log"
        self._folders = (folder, *more_folders)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)

    def top_up(self, source: random.Random) -> None:
        """Sends fresh messages where the queue has no full batch to receive; it stays short, and so quick."""
        missing = BATCH_SIZE - self.queue.depth()[0]
        if missing > 0:
            self.send(list(drafts(source, max(missing, BATCH_SIZE // 2))))
            self._send_again(source)

    def send(self, messages: list[Draft]) -> None:
        """Sends each as a message of its own, and keeps its MessageId."""
        for draft in messages:
            (message_id,) = self.queue.send(draft.body)
            self._sent[message_id] = draft

    def send_dated(self, messages: list[Draft], day: date) -> None:
        """Sends each as one that was first sent on this day; its user_id is its first MessageId."""
        for draft in messages:
            self._sent[draft.user_id] = draft
            self._first_sent[draft.user_id] = (
                int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 1000
            )
            self._send_as(draft.user_id)

    def have_expired(self, messages: list[Draft]) -> None:
        """Their rows went on purpose: they must be nowhere."""
        for draft in messages:
            del self._sent[draft.user_id]

    def run(self, *, die_at: Moment | None = None) -> Ended:
        """Runs login_job in a process of its own until it has ended."""
        return self.ended(self.start(die_at=die_at))

    def start(
        self, work: Work = run_login_job, *, die_at: Moment | None = None, victim: int | None = None
    ) -> RunProcess:
        """Starts login_job, or other work, in a process of its own, for `ended` to wait for; see `Orders`."""
        return RunProcess(work, Orders(self.environment, self._output, die_at, self.changes, victim))

    def ended(self, process: RunProcess) -> Ended:
        """Waits for the end of a run, and notes how it ended; raises as `RunProcess.end` does."""
        ended = process.end(seconds=RUN_SECONDS)
        self.kills += ended.killed
        self.failures += getattr(ended.result, "failures", [])
        return ended

    @contextmanager
    def giving(self, *changes: Change, **environment: str) -> Iterator[None]:
        """What is started in the block is given these changes and settings, too."""
        before = self.changes, self.environment
        self.changes, self.environment = (*self.changes, *changes), {**self.environment, **environment}
        try:
            yield
        finally:
            self.changes, self.environment = before

    @contextmanager
    def sqs_proxy(self) -> Iterator[SqsProxy]:
        """Runs that start in the block call SQS through it. Neither empty polls nor retries wait: that is no fault."""
        with (
            SqsProxy(self.environment["AWS_ENDPOINT_URL_SQS"]) as proxy,
            self.giving(retry_at_once, AWS_ENDPOINT_URL_SQS=proxy.endpoint),
        ):
            proxy.on("ReceiveMessage", with_request(WaitTimeSeconds=0))
            yield proxy

    @contextmanager
    def database_proxy(self) -> Iterator[TcpProxy]:
        """Runs that start in the block reach the database through it."""
        with TcpProxy(self.database.url) as proxy, self.giving(LOGIN_DATABASE_URL=proxy.url):
            yield proxy

    def make_tables(self) -> None:
        """Runs once where there are none yet."""
        if self.database.query("SELECT to_regclass('user_logins_dead_letters')") == [(None,)]:
            self.run()

    def refuse_rows(self, prefix: str, condition: str) -> None:
        """From now on rows whose user_id begins with `prefix` are refused, with the row quoted in the error."""
        self.database.query(_REFUSE.format(prefix=prefix, condition=condition))

    @contextmanager
    def refusing_rows(self, prefix: str, condition: str) -> Iterator[None]:
        """The same until the block is left."""
        self.refuse_rows(prefix, condition)
        try:
            yield
        finally:
            self.database.query(f"DROP FUNCTION refuse_{condition}() CASCADE")

    def drain(self, *, seconds: float) -> bool:
        """Drains the queue as `login-pipeline drain` does, again where a run of it failed; False when time is up."""
        until = time.monotonic() + seconds
        with suppress(TimeoutError):
            while failures := self.start(drain_queue).end(seconds=until - time.monotonic()).result.failures:
                self.failures += failures
            return True
        return False

    def account(self) -> Account:
        """Where each message is now. What a killed run holds is waited for, so that it can be seen."""
        wait_until(lambda: self.queue.depth()[1] == 0, seconds=VISIBILITY_TIMEOUT + 10, still_possible=lambda: True)
        rows = dict(self.database.query("SELECT user_id, count(*) FROM user_logins GROUP BY user_id"))
        letters = Counter(_first_id(message) for message in peek(self.dead_letter_queue))
        on_queue = {_first_id(message) for message in peek(self.queue)}
        return account(self._sent, rows=rows, letters=letters, on_queue=on_queue)

    def leaks(self) -> dict[str, int]:
        """Personal data that is anywhere but in SQS: how often, by table and by file."""
        found: Counter[str] = Counter()
        for place, content in chain(places.files(self._folders), *map(places.rows, self._databases)):
            found[place] += sum(len(PERSONAL_DATA.findall(each)) for each in unpacked(content))
        return {place: count for place, count in found.items() if count}

    def _send_again(self, source: random.Random) -> None:
        """Sends one again under another MessageId, as SQS's own redrive does: the same login, not a new one."""
        self._send_as(source.choice(list(self._sent)))

    def _send_as(self, message_id: str) -> None:
        sent = self._first_sent.get(message_id, int(time.time() * 1000))
        self.queue.send(
            self._sent[message_id].body,
            original_message_id={"DataType": "String", "StringValue": message_id},
            original_sent_timestamp={"DataType": "Number", "StringValue": str(sent)},
        )


def _first_id(message: Mapping[str, Any]) -> str:
    own = message.get("MessageAttributes", {})
    return str(own.get("original_message_id", {}).get("StringValue", message["MessageId"]))
