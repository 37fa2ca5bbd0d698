"""What can be had from boto3 by a good programmer: `python -m benchmarks.contenders.overlapped_boto3`.

Threads receive while one loads, by COPY and with an inbox in the same transaction, as the pipeline does; what is
committed is deleted ten a call by as many threads. The SDK is set up as it is fastest: no validation of parameters and
a User-Agent that is made once. What is no login is deleted, as by the plain script.
"""

import io
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from hashlib import sha256
from queue import Queue as Line
from typing import Any, NamedTuple

import boto3
import psycopg2
from botocore.config import Config
from psycopg2 import extensions

from benchmarks.contenders.meter import Meter

THREADS = 16
"""For receives, and as many for deletes: with more, boto3's threads mostly wait for each other."""
ROWS = 5_000
"""In one transaction."""
AT_ONCE = 4 * ROWS
"""Messages that may wait to be loaded or deleted: then the receives wait."""

STAGE = "CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS SELECT *, '' AS message_id FROM user_logins LIMIT 0"
LOAD = """
WITH fresh AS (
    INSERT INTO user_logins_inbox (message_id, create_date)
    SELECT message_id, create_date FROM incoming
    ON CONFLICT (message_id) DO NOTHING RETURNING message_id
)
INSERT INTO user_logins
SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date
FROM incoming JOIN fresh USING (message_id)
"""


class Received(NamedTuple):
    """A message as a line of COPY, empty for what is no login, and what deletes it."""

    line: str
    receipt_handle: str


class Queue:
    """The queue in LOGIN_QUEUE_URL."""

    def __init__(self) -> None:
        self._url = os.environ["LOGIN_QUEUE_URL"]
        self._client = boto3.client(
            "sqs",
            config=Config(
                parameter_validation=False, max_pool_connections=2 * THREADS, user_agent="overlapped", read_timeout=30
            ),
        )

    def receive(self) -> list[Received]:
        """One receive of ten."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=2,
            VisibilityTimeout=900,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return [_received(message) for message in answer.get("Messages", [])]

    def delete(self, handles: list[str]) -> int:
        """Deletes up to ten; how many."""
        entries: list[Any] = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
        for _ in range(5):
            failed = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries).get("Failed", [])
            entries = [entries[int(each["Id"])] for each in failed]
            if not entries:
                return len(handles)
            entries = [{**entry, "Id": str(number)} for number, entry in enumerate(entries)]
            time.sleep(0.2)
        raise RuntimeError(f"{len(entries)} messages could not be deleted")


def main() -> None:
    """Drains the queue into the database in LOGIN_DATABASE_URL."""
    queue = Queue()
    connection = psycopg2.connect(os.environ["LOGIN_DATABASE_URL"])
    meter = Meter()
    arrived: Line[list[Received] | None] = Line(maxsize=AT_ONCE // 10)
    deletes: set[Future[int]] = set()
    with ThreadPoolExecutor(THREADS) as receivers, ThreadPoolExecutor(THREADS) as deleters:
        receives = [receivers.submit(receive_until_dry, queue, arrived) for _ in range(THREADS)]
        for messages in chunks(arrived):
            load(connection, [message.line for message in messages])
            handles = [message.receipt_handle for message in messages]
            deletes |= {deleters.submit(queue.delete, handles[at : at + 10]) for at in range(0, len(handles), 10)}
            deletes = progress(deletes, meter, all_of_them=len(deletes) * 10 > AT_ONCE)
        progress(deletes, meter, all_of_them=True)
        for receive in receives:
            receive.result()
    meter.tell(threads=THREADS)


def receive_until_dry(queue: Queue, arrived: "Line[list[Received] | None]") -> None:
    """Receives until a poll comes back empty, and says that it has ended."""
    try:
        while messages := queue.receive():
            arrived.put(messages)
    finally:
        arrived.put(None)


def chunks(arrived: "Line[list[Received] | None]") -> Iterator[list[Received]]:
    """What arrives, in the size of a transaction, until every thread has ended."""
    waiting: list[Received] = []
    running = THREADS
    while running:
        messages = arrived.get()
        running -= messages is None
        waiting += messages or []
        if len(waiting) >= ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def progress(deletes: set[Future[int]], meter: Meter, *, all_of_them: bool) -> set[Future[int]]:
    """The deletes that are still under way; none, when all of them are waited for."""
    if all_of_them:
        wait(deletes)
    done = {each for each in deletes if each.done()}
    if sum(each.result() for each in done):
        meter.progressed()
    return deletes - done


def load(connection: extensions.connection, lines: list[str]) -> None:
    """One transaction: the rows of messages that the inbox does not have, and their keys."""
    with connection, connection.cursor() as cursor:
        cursor.execute(STAGE)
        cursor.copy_expert("COPY incoming FROM STDIN", io.StringIO("".join(lines)))
        cursor.execute(LOAD)


def _received(message: Any) -> Received:
    try:
        line = _line(json.loads(message["Body"]), message)
    except (ValueError, KeyError, TypeError):
        line = ""
    return Received(line, message["ReceiptHandle"])


def _line(login: Any, message: Any) -> str:
    fields = (
        _escaped(login["user_id"]),
        _escaped(login["device_type"]),
        sha256(login["ip"].encode()).hexdigest(),
        sha256(login["device_id"].encode()).hexdigest(),
        r"\N" if login["locale"] is None else _escaped(login["locale"]),
        str(int(login["app_version"].split(".")[0])),
        datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC).date().isoformat(),
        message["MessageId"],
    )
    return "\t".join(fields) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


if __name__ == "__main__":
    main()
