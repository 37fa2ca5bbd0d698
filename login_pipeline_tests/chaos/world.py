"""What a campaign acts on: two queues and a database of its own, what was sent, and runs of the pipeline."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from login_pipeline_tests.chaos.account import Account, Found, Sent, account
from login_pipeline_tests.chaos.database_server import DatabaseServer
from login_pipeline_tests.chaos.leaks import leaks_in_database, leaks_in_files
from login_pipeline_tests.chaos.messages import Draft, drafts
from login_pipeline_tests.chaos.run_process import Change, Ended, Orders, RunProcess, Work, drain_queue, run_login_job
from login_pipeline_tests.chaos.seams import Moment
from login_pipeline_tests.conftest import Database

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

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
# For which messages that were looked at are hidden, so that none is seen twice.
PEEK_SECONDS = 600


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
        self._dagster_home = self.environment.pop("DAGSTER_HOME", "")  # recording takes a run twice its time
        self.changes: tuple[Change, ...] = ()
        self.server = server
        self.database = Database(environment["LOGIN_DATABASE_URL"])
        self.kills = 0
        self.failures: list[str] = []
        self._queue_url = environment["LOGIN_QUEUE_URL"]
        self._dead_letter_queue_url = environment["LOGIN_DEAD_LETTER_QUEUE_URL"]
        self._databases = [self.database.url]
        if storage := environment.get("LOGIN_DAGSTER_DATABASE_URL"):
            self._databases.append(storage.replace("+psycopg2", ""))
        self._client = _client(environment)
        self._sent: dict[str, Sent] = {}
        self._can_be_sent_again: list[tuple[str, str, Draft]] = []
        self._output = folder / "output.log"
        self._folders = (folder, *more_folders)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)

    def top_up(self, source: random.Random) -> None:
        """Sends fresh messages where the queue has no full batch to receive; it stays short, and so quick."""
        missing = BATCH_SIZE - self.depth()[0]
        if missing > 0:
            self.send(list(drafts(source, max(missing, BATCH_SIZE // 2))))
            self._send_again(source)

    def send(self, messages: list[Draft]) -> None:
        """Sends each as a message of its own, and keeps its MessageId."""
        now = str(int(time.time() * 1000))
        for start in range(0, len(messages), 10):
            batch = messages[start : start + 10]
            for message_id, draft in zip(
                self._send([{"MessageBody": each.body} for each in batch]), batch, strict=True
            ):
                self._sent[message_id] = Sent(draft.user_id, draft.valid)
                self._can_be_sent_again.append((message_id, now, draft))

    def run(self, *, die_at: Moment | None = None) -> Ended:
        """Runs login_job in a process of its own until it has ended."""
        return self.ended(self.start(die_at=die_at))

    @contextmanager
    def giving(self, *changes: Change, **environment: str) -> Iterator[None]:
        """What is started in the block is given these changes and settings, too."""
        before = self.changes, self.environment
        self.changes, self.environment = (*self.changes, *changes), {**self.environment, **environment}
        try:
            yield
        finally:
            self.changes, self.environment = before

    def start(self, work: Work = run_login_job, *, die_at: Moment | None = None, recorded: bool = False) -> RunProcess:
        """Starts login_job, or other work, in a process of its own, for `ended` to wait for.

        A recorded run uses the Dagster instance in DAGSTER_HOME, where the world was given one.
        """
        home = {"DAGSTER_HOME": self._dagster_home} if recorded else {}
        return RunProcess(work, Orders({**self.environment, **home}, self._output, die_at, self.changes))

    def ended(self, process: RunProcess) -> Ended:
        """Waits for the end of a run, and notes how it ended.

        Raises:
            TimeoutError: it had to be ended, which is no kill that was asked for.
        """
        ended = process.end(seconds=RUN_SECONDS)
        if ended.late:
            raise TimeoutError(f"a run did not end within {RUN_SECONDS:.0f} s")
        self.kills += ended.killed
        self.failures += getattr(ended.result, "failures", [])
        return ended

    def drain(self, *, seconds: float) -> bool:
        """Drains the queue as `login-pipeline drain` does, again where a run of it failed; False when time is up."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            orders = Orders(self.environment, self._output, changes=self.changes)
            ended = RunProcess(drain_queue, orders).end(seconds=left)
            if not ended.killed and not ended.result.failures:
                return True
            self.failures += [] if ended.killed else ended.result.failures
        return False

    def depth(self, *, dead_letters: bool = False) -> tuple[int, int]:
        """Messages on the queue, or the dead-letter queue, that can be received, and that are in flight."""
        url = self._dead_letter_queue_url if dead_letters else self._queue_url
        names: tuple[Any, ...] = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(answer[names[0]]), int(answer[names[1]])

    def account(self) -> Account:
        """Where each message is now. What a killed run holds is waited for, so that it can be seen."""
        until = time.monotonic() + VISIBILITY_TIMEOUT + 10
        while self.depth()[1] and time.monotonic() < until:
            time.sleep(0.5)
        letters = Counter(_first_id(message) for message in self._peek(self._dead_letter_queue_url))
        waiting = {_first_id(message) for message in self._peek(self._queue_url)}
        return account(self._sent, Found(self._rows(), letters, waiting))

    def leaks(self) -> dict[str, int]:
        """Personal data that is anywhere but in SQS: how often, by table and by file."""
        found = leaks_in_files(self._folders)
        for url in self._databases:
            found |= leaks_in_database(url)
        return found

    def _rows(self) -> dict[str, int]:
        counts = self.database.query("SELECT user_id, count(*) FROM user_logins GROUP BY user_id")
        return dict(counts)

    def _send_again(self, source: random.Random) -> None:
        """Sends one again under another MessageId, as SQS's own redrive does: the same login, not a new one."""
        message_id, sent_at, draft = source.choice(self._can_be_sent_again)
        attributes = {
            "original_message_id": {"DataType": "String", "StringValue": message_id},
            "original_sent_timestamp": {"DataType": "Number", "StringValue": sent_at},
        }
        self._send([{"MessageBody": draft.body, "MessageAttributes": attributes}])

    def _send(self, entries: list[dict[str, Any]]) -> list[str]:
        """Returns the MessageIds, in the entries' order."""
        numbered: list[Any] = [{"Id": str(index), **entry} for index, entry in enumerate(entries)]
        answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=numbered)
        ids = {sent["Id"]: sent["MessageId"] for sent in answer["Successful"]}
        return [ids[str(index)] for index in range(len(entries))]

    def _peek(self, url: str) -> Iterator[Mapping[str, Any]]:
        """Every message that can be received, once; they stay on the queue."""
        while messages := self._client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=PEEK_SECONDS, MessageAttributeNames=["All"]
        ).get("Messages", []):
            yield from messages


def _first_id(message: Mapping[str, Any]) -> str:
    own = message.get("MessageAttributes", {})
    return str(own.get("original_message_id", {}).get("StringValue", message["MessageId"]))


def _client(environment: Mapping[str, str]) -> "SQSClient":
    return boto3.client(
        "sqs",
        endpoint_url=environment["AWS_ENDPOINT_URL_SQS"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
