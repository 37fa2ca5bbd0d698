"""What an HTTP request is answered with: SQS's protocol, and apart from it what the server has served."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from login_pipeline_tests.sqs_server.errors import SqsError
from login_pipeline_tests.sqs_server.http_connection import Answer, GiveUp, Request
from login_pipeline_tests.sqs_server.service import Service


class Front:
    """Answers every request of every connection."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def respond(self, request: Request, reply: Callable[[Answer], None]) -> GiveUp | None:
        """Answers one request, at once or later; what it returns ends the waiting."""
        if request.line.startswith(b"GET /counts "):
            reply(Answer(200, json.dumps(self._counts()).encode(), at_once=True))
            return None
        try:
            if b"\r\nauthorization: aws4-hmac-sha256 " not in request.head:  # whether it is right, nobody asks
                raise SqsError("MissingAuthenticationToken", "Request is missing Authentication Token")
            operation = request.target.removeprefix("AmazonSQS.")
            return self._service.call(operation, request.content, lambda content: reply(Answer(200, content)))
        except SqsError as error:
            header = b"x-amzn-query-error: %b;Sender\r\n" % error.form.query_code.encode()
            reply(Answer(error.form.status, error.content, header))
            return None

    def _counts(self) -> dict[str, object]:
        """Since the start; `cpu_seconds` are this process's, for all it did."""
        queues = {
            owned.queue.name: {
                **asdict(owned.queue.served),
                "visible": owned.queue.visible,
                "in_flight": owned.queue.in_flight,
                "delayed": owned.queue.delayed,
            }
            for owned in self._service.account
        }
        return {
            "calls": self._service.calls,
            "refused": self._service.refused,
            "queues": queues,
            "cpu_seconds": time.process_time(),
        }
