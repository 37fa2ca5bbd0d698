"""Tells when a run is about to do, and has just done, each thing that must not be done twice or forgotten.

The run itself knows nothing of it: we listen where it calls psycopg2, boto3 and libcurl. Where it
calls differently, this file changes, and no other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
import psycopg2
from botocore.client import BaseClient
from psycopg2 import extensions

from login_pipeline.logins.event import Rejection, parse_login
from login_pipeline.settings import read_settings
from login_pipeline.sqs.message import ReceiveResponse
from login_pipeline.sqs.transport.client import Operation
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


class Moment(NamedTuple):
    """Just before a step, or just after it: the outside world has done it, and the run has not heard yet."""

    when: str
    step: Step

    def __str__(self) -> str:
        return f"{self.when} {self.step}"


Listener = Callable[[Moment], None]

# Statements by what they say, wherever they stand.
STATEMENTS = {
    re.compile(r"\bINSERT INTO user_logins\s*\("): Step.INSERT,
    re.compile(r"\bINSERT INTO user_logins_dead_letters\s*\("): Step.QUARANTINE_RECORD,
    re.compile(r"\bCOPY incoming_logins\b"): Step.COPY,
}
# What the COMMIT is for, by a statement before it. Other transactions change nothing that matters.
COMMITS = {Step.INSERT: Step.COMMIT, Step.QUARANTINE_RECORD: Step.QUARANTINE_COMMIT}


def listen(listener: Listener) -> None:
    """Calls `listener` at each moment of the runs of this process from now on, in the thread that is at it."""
    _listen_to_psycopg2(listener)
    _listen_to_sqs(listener)


def _listen_to_psycopg2(listener: Listener) -> None:
    class Cursor(extensions.cursor):
        def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's own name
            _around(listener, self._step(query), lambda: super(Cursor, self).execute(query, vars))

        def copy_expert(self, sql: Any, *arguments: Any, **options: Any) -> None:
            _around(listener, self._step(sql), lambda: super(Cursor, self).copy_expert(sql, *arguments, **options))

        def _step(self, query: Any) -> Step | None:
            step = next((step for pattern, step in STATEMENTS.items() if pattern.search(str(query))), None)
            if step in COMMITS and isinstance(self.connection, Connection):
                self.connection.commits = COMMITS[step]
            return step

    class Connection(extensions.connection):
        commits: Step | None = None

        def cursor(self, *arguments: Any, **options: Any) -> Any:
            return super().cursor(*arguments, **{"cursor_factory": Cursor, **options})

        def commit(self) -> None:
            _around(listener, self.commits, super().commit)
            self.commits = None

    connect = psycopg2.connect

    def connect_and_listen(*arguments: Any, **options: Any) -> Any:
        return connect(*arguments, **{"connection_factory": Connection, **options})

    psycopg2.connect = connect_and_listen


def _listen_to_sqs(listener: Listener) -> None:
    calls = _Calls()
    make_api_call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def make_api_call_and_tell(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        step = calls.step(operation, parameters)
        return calls.learn(_around(listener, step, lambda: make_api_call(client, operation, parameters)))

    BaseClient._make_api_call = make_api_call_and_tell  # type: ignore[attr-defined]
    by_libcurl = CurlTransport._by_libcurl

    def call_and_tell(
        transport: CurlTransport, operation: Operation[Any], requests: Sequence[Mapping[str, Any]]
    ) -> Any:
        step = calls.step(operation.name, requests[0])
        responses = _around(listener, step, lambda: by_libcurl(transport, operation, requests))
        for response in responses:
            calls.learn(response)
        return responses

    CurlTransport._by_libcurl = call_and_tell  # type: ignore[method-assign, assignment]


class _Calls:
    """Knows which receipt handles are those of malformed messages, and so what a delete is for."""

    def __init__(self) -> None:
        self._malformed: set[str] = set()

    def learn(self, answer: Any) -> Any:
        received = msgspec.convert(answer, ReceiveResponse, strict=False) if isinstance(answer, dict) else answer
        for message in getattr(received, "messages", ()):
            if isinstance(parse_login(message.body), Rejection):
                self._malformed.add(message.receipt_handle)
        return answer

    def step(self, operation: str, parameters: Mapping[str, Any]) -> Step | None:
        if operation == "ReceiveMessage":
            return Step.RECEIVE
        if operation == "SendMessageBatch" and parameters["QueueUrl"] == read_settings().dead_letter_queue_url:
            return Step.QUARANTINE_SEND
        if operation == "DeleteMessageBatch":
            handles = {entry["ReceiptHandle"] for entry in parameters["Entries"]}
            return Step.QUARANTINE_DELETE if handles & self._malformed else Step.DELETE
        return None


def _around(listener: Listener, step: Step | None, do: Callable[[], Any]) -> Any:
    if step is None:
        return do()
    listener(Moment("before", step))
    answer = do()
    listener(Moment("after", step))
    return answer
