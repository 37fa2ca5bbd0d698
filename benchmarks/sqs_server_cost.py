"""What a call costs the benchmarks' own SQS server, by the queue's depth: `python -m benchmarks.sqs_server_cost`.

The client is no client of SQS, only sockets: so that it never is what is measured.
"""

import asyncio
import json
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from login_pipeline_tests.sqs_server.process import QueueServer

DEPTHS = 1_000, 100_000, 500_000
CALLS = 5_000
"""Of each operation at each depth, at most; fewer where the queue is empty before."""
CONNECTIONS = 64
LATENCY = 0.015
SECONDS = 5.0
HEADERS = "Authorization: AWS4-HMAC-SHA256 none\r\nContent-Type: application/x-amz-json-1.0\r\n"


class Cost(NamedTuple):
    """What calls took."""

    calls: int
    server_cpu: float
    """Seconds."""
    seconds: float


async def call(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], operation: str, asked: object) -> bytes:
    """Calls an operation; returns its answer."""
    reader, writer = stream
    content = json.dumps(asked).encode()
    head = f"POST / HTTP/1.1\r\nHost: sqs\r\nX-Amz-Target: AmazonSQS.{operation}\r\n{HEADERS}"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    answered = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


async def receive(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], queue_url: str) -> list[str]:
    """Receives up to ten; returns their receipt handles."""
    names = ["SentTimestamp", "ApproximateReceiveCount"]
    asked = {"QueueUrl": queue_url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 900, "WaitTimeSeconds": 1}
    asked |= {"MessageSystemAttributeNames": names, "MessageAttributeNames": ["All"]}
    answer = json.loads(await call(stream, "ReceiveMessage", asked))
    return [message["ReceiptHandle"] for message in answer.get("Messages", [])]


async def delete(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], queue_url: str, handles: list[str]) -> None:
    """Deletes up to ten."""
    entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
    await call(stream, "DeleteMessageBatch", {"QueueUrl": queue_url, "Entries": entries})


async def one_by_one(server: QueueServer, calls: int) -> dict[str, Cost]:
    """Receives that many times ten, and then deletes them, on one connection."""
    address = urlsplit(server.endpoint)
    stream = await asyncio.open_connection(address.hostname, address.port)
    cpu, started = server.cpu_seconds(), time.monotonic()
    received = [await receive(stream, server.queue_url) for _ in range(calls)]
    between, then = server.cpu_seconds(), time.monotonic()
    for handles in received:
        await delete(stream, server.queue_url, handles)
    stream[1].close()
    return {
        "ReceiveMessage": Cost(calls, between - cpu, then - started),
        "DeleteMessageBatch": Cost(calls, server.cpu_seconds() - between, time.monotonic() - then),
    }


async def many_at_once(server: QueueServer, connections: int) -> Cost:
    """Receives and deletes on many connections, each as fast as it is answered."""
    address = urlsplit(server.endpoint)
    until = time.monotonic() + SECONDS

    async def drain() -> int:
        stream = await asyncio.open_connection(address.hostname, address.port)
        calls = 0
        while time.monotonic() < until and (handles := await receive(stream, server.queue_url)):
            await delete(stream, server.queue_url, handles)
            calls += 2
        stream[1].close()
        return calls

    cpu, started = server.cpu_seconds(), time.monotonic()
    calls = sum(await asyncio.gather(*(drain() for _ in range(connections))))
    return Cost(calls, server.cpu_seconds() - cpu, time.monotonic() - started)


def main() -> None:
    """Prints microseconds of the server's CPU a call by depth, and calls per second with latency."""
    for depth in DEPTHS:
        with QueueServer(fill=depth) as server:
            costs = asyncio.run(one_by_one(server, min(CALLS, depth // 10)))
        told = {name: round(cost.server_cpu / cost.calls * 1e6, 1) for name, cost in costs.items()}
        print(json.dumps({"depth": depth, "server CPU us a call": told}))
    with QueueServer(fill=DEPTHS[-1], latency=LATENCY) as server:
        cost = asyncio.run(many_at_once(server, CONNECTIONS))
    told = {
        "calls/s": round(cost.calls / cost.seconds),
        "server CPU us a call": round(cost.server_cpu / cost.calls * 1e6, 1),
    }
    print(json.dumps({"connections": CONNECTIONS, "latency ms": LATENCY * 1000, **told}))


if __name__ == "__main__":
    main()
