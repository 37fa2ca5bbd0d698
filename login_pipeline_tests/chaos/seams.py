"""Says when a run is about to do, and has just done, each thing that must not be done twice or forgotten.

The run itself knows nothing of it: we listen where it calls PostgreSQL and SQS. Where it calls
differently, this file changes, and no other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from threading import Event
from typing import Any, NamedTuple
from unittest.mock import patch

from psycopg2 import extensions

from login_pipeline.logins.event import Rejection, parse_login
from login_pipeline.postgres.session import InterruptibleConnection, InterruptibleCursor
from login_pipeline.settings import read_settings
from login_pipeline.sqs.transport.client import DELETE, RECEIVE, SEND, Operation
from login_pipeline.sqs.transport.curl import CurlTransport


class Step(StrEnum):
    """What a run does to the outside world, in the order in which it is done to a message."""

    RECEIVE = "receive"
    QUARANTINE_RECORD = "quarantine record"
    QUARANTINE_SEND = "quarantine send"
    QUARANTINE_COMMIT = "quarantine COMMIT"
    QUARANTINE_DELETE = "quarantine delete"
    COPY = "COPY"
    INSERT = "INSERT"
    COMMIT = "COMMIT"
    DELETE = "delete"


class ExpiryStep(StrEnum):
    """What an expiry does: it closes the dates, and then each goes in a transaction."""

    CLOSE = "close"
    CLOSE_COMMIT = "close COMMIT"
    DELETE = "expiry DELETE"
    COUNT = "expiry COUNT"
    COMMIT = "expiry COMMIT"


class Moment(NamedTuple):
    """Just before a step, or just after it: the outside world has done it, and the run has not heard yet."""

    when: str
    step: Step | ExpiryStep

    def __str__(self) -> str:
        return f"{self.when} {self.step}"


Listener = Callable[[Moment], None]

# Statements by what they say.
STATEMENTS: dict[re.Pattern[str], Step | ExpiryStep] = {
    re.compile(r"\bINSERT INTO user_logins\s"): Step.INSERT,
    re.compile(r"\bINSERT INTO user_logins_dead_letters\s"): Step.QUARANTINE_RECORD,
    re.compile(r"\bCOPY incoming_logins\b"): Step.COPY,
    re.compile(r"\bVALUES \(%\(date\)s, 'expired', 0\)"): ExpiryStep.CLOSE,
    re.compile(r"^DELETE FROM user_logins WHERE create_date = "): ExpiryStep.DELETE,
    re.compile(r"\bWITH of_date AS\b"): ExpiryStep.COUNT,
}
# What the COMMIT is for, by a statement before it. Other transactions change nothing that matters.
COMMITS: dict[Step | ExpiryStep | None, Step | ExpiryStep] = {
    Step.INSERT: Step.COMMIT,
    Step.QUARANTINE_RECORD: Step.QUARANTINE_COMMIT,
    ExpiryStep.CLOSE: ExpiryStep.CLOSE_COMMIT,
    ExpiryStep.DELETE: ExpiryStep.COMMIT,
}


def listen(listener: Listener) -> None:
    """Calls `listener` at each moment of the runs of this process from now on, in the thread that is at it.

    Before it receives, a run loads a row and records a letter only to try: these are no moments.
    """
    receiving = Event()

    def listen_once_it_receives(moment: Moment) -> None:
        if moment.step is Step.RECEIVE:
            receiving.set()
        if receiving.is_set() or isinstance(moment.step, ExpiryStep):
            listener(moment)

    _listen_to_postgres(listen_once_it_receives)
    _listen_to_sqs(listen_once_it_receives)


def _listen_to_postgres(listener: Listener) -> None:
    # By connection: what its COMMIT is for.
    commits: dict[InterruptibleConnection, Step | ExpiryStep] = {}

    def execute(cursor: InterruptibleCursor, query: Any, values: Any = None) -> None:
        work = partial(extensions.cursor.execute, cursor, query, values)
        cursor.connection.wait_for(partial(_around, listener, step(cursor, query), work))

    def copy_expert(cursor: InterruptibleCursor, query: Any, file: Any) -> None:
        work = partial(extensions.cursor.copy_expert, cursor, query, file)
        cursor.connection.wait_for(partial(_around, listener, step(cursor, query), work))

    def commit(connection: InterruptibleConnection) -> None:
        work = partial(extensions.connection.commit, connection)
        connection.wait_for(partial(_around, listener, commits.pop(connection, None), work))

    def rollback(connection: InterruptibleConnection) -> None:
        commits.pop(connection, None)
        connection.wait_for(partial(extensions.connection.rollback, connection))

    def step(cursor: InterruptibleCursor, query: Any) -> Step | ExpiryStep | None:
        found = next((step for pattern, step in STATEMENTS.items() if pattern.search(str(query))), None)
        if found in COMMITS:
            commits[cursor.connection] = COMMITS[found]
        return found

    patch.multiple(InterruptibleCursor, execute=execute, copy_expert=copy_expert).start()
    patch.multiple(InterruptibleConnection, commit=commit, rollback=rollback).start()


def _listen_to_sqs(listener: Listener) -> None:
    call_many = CurlTransport.call_many
    # Receipt handles: they say what a delete is for.
    malformed: set[str] = set()

    def call_and_listen(self: CurlTransport, operation: Operation[Any], requests: Sequence[Mapping[str, Any]]) -> Any:
        step = _sqs_step(operation, requests[0], malformed)
        responses = _around(listener, step, lambda: call_many(self, operation, requests))
        for response in responses:
            for message in getattr(response, "messages", ()):
                if isinstance(parse_login(message.body), Rejection):
                    malformed.add(message.receipt_handle)
        return responses

    patch.object(CurlTransport, "call_many", call_and_listen).start()


def _sqs_step(operation: Operation[Any], request: Mapping[str, Any], malformed: set[str]) -> Step | None:
    if operation is RECEIVE:
        return Step.RECEIVE
    if operation is SEND and request["QueueUrl"] == read_settings().dead_letter_queue_url:
        return Step.QUARANTINE_SEND
    if operation is DELETE:
        handles = {entry["ReceiptHandle"] for entry in request["Entries"]}
        return Step.QUARANTINE_DELETE if handles & malformed else Step.DELETE
    return None


def _around(listener: Listener, step: Step | ExpiryStep | None, do: Callable[[], Any]) -> Any:
    if step is None:
        return do()
    listener(Moment("before", step))
    answer = do()
    listener(Moment("after", step))
    return answer
