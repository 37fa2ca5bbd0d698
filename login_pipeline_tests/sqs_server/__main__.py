"""Runs the server: `python -m login_pipeline_tests.sqs_server [--latency-ms 15] [--fill 200000]`.

It prints one line of JSON with its endpoint and its queues' URLs when it listens, on 127.0.0.1 only, and ends on
SIGTERM and when the process that started it is gone. Beside SQS's protocol it answers `GET /counts`: what it served.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import socket

import uvloop

from login_pipeline.local.ports import HOST
from login_pipeline_tests.sqs_server.fill import fill
from login_pipeline_tests.sqs_server.http_connection import HttpConnection
from login_pipeline_tests.sqs_server.service import Service

QUEUE = "logins"
DEAD_LETTER_QUEUE = "logins-dead-letter"
# How often it looks whether the process that started it is still there.
WATCH_SECONDS = 0.5


async def serve(given: argparse.Namespace) -> None:
    """Serves until a signal, or the end of the process that started it."""
    parent = os.getppid()
    listener = socket.create_server((given.host, 0), backlog=1024)
    endpoint = f"http://{given.host}:{listener.getsockname()[1]}"
    service = Service(endpoint)
    queue, dead_letter_queue = service.create_queue(QUEUE), service.create_queue(DEAD_LETTER_QUEUE)
    fill(queue, given.fill)
    gc.collect()
    gc.freeze()  # or each full collection would go through all messages

    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: HttpConnection(service, given.latency_ms / 1000), sock=listener)
    urls = {"queue_url": queue.url, "dead_letter_queue_url": dead_letter_queue.url}
    print(json.dumps({"endpoint": endpoint, **urls}), flush=True)

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    while not ended.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(ended.wait(), WATCH_SECONDS)
        except TimeoutError:
            continue


def main() -> None:
    """Reads the arguments and serves."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--latency-ms", type=float, default=0, help="after which each answer is given; 0 without")
    arguments.add_argument("--host", default=HOST, help="the address to listen on")
    arguments.add_argument("--fill", type=int, default=0, help="login messages that are on the queue at the start")
    uvloop.run(serve(arguments.parse_args()))


if __name__ == "__main__":
    main()
