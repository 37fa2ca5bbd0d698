"""What more workers bring: 1, 2 and 4 of them, each with a quarter of a core, drain one backlog. It needs Docker.

`python -m benchmarks.scaling`. The containers of docker-compose.yml, but for the queue: that is the benchmarks' SQS
server, on this machine. The clock runs from the first message that is received until the last one is deleted, so the
start of the workers and the sensor's tick are not in it.
"""

import argparse
import socket
import sys
import tempfile
import time
from statistics import median
from typing import NamedTuple

import psutil

from login_pipeline.local.ports import wait_until
from login_pipeline.signals import raise_at_signals
from login_pipeline_tests import ROOT
from login_pipeline_tests.cluster.deployment import Deployment, deployment
from login_pipeline_tests.sqs_server.process import QueueServer

WORKERS = (1, 2, 4)
CORES, LATENCY = 0.25, 0.015
LIMIT = f'services: {{worker: {{cpus: "{CORES}"}}}}'
# Times one worker's rate at least, and what CPU a message may take more or less than with one worker.
AT_LEAST, CPU_VARIES = {1: 1.0, 2: 1.8, 4: 3.4}, 0.1
SECONDS = 1800.0
# Docker's bridge on this machine, whose address the containers reach.
BRIDGE = "docker0"
START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"""
SENSOR = {
    "repositoryLocationName": "login_pipeline.definitions",
    "repositoryName": "__repository__",
    "sensorName": "queue_depth_sensor",
}


class Cpu(NamedTuple):
    """In seconds."""

    workers: float
    queue: float
    database: float


class Drain(NamedTuple):
    """One drain."""

    workers: int
    messages: int
    rows: int
    seconds: float
    cpu: Cpu

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def main() -> int:
    """The exit code: 1 where a limit is missed, or a row is missing or there twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise_at_signals()
    try:
        rounds = [[_drain(workers, given.messages) for workers in WORKERS] for _ in range(given.rounds)]
    except KeyboardInterrupt:
        return 130
    met = _show(rounds)
    return 0 if met and all(drain.rows == drain.messages for drains in rounds for drain in drains) else 1


def _drain(workers: int, messages: int) -> Drain:
    host = next(each.address for each in psutil.net_if_addrs()[BRIDGE] if each.family is socket.AF_INET)
    with (
        QueueServer(latency=LATENCY, fill=messages, host=host) as queue,
        tempfile.NamedTemporaryFile("w", suffix=".yml") as limit,
    ):
        limit.write(LIMIT)
        limit.flush()
        settings = {
            "COMPOSE_FILE": f"{ROOT / 'docker-compose.yml'}:{limit.name}",
            "LOGIN_QUEUE_URL": queue.queue_url,
            "LOGIN_DEAD_LETTER_QUEUE_URL": queue.dead_letter_queue_url,
            "AWS_ENDPOINT_URL_SQS": queue.endpoint,
            "LOGIN_MAX_CONCURRENT_RUNS": str(workers),
            "LOGIN_RUN_INTERVAL": "0",
        }
        with deployment(workers, settings) as cluster:
            if not wait_until(lambda: _waiting(cluster) == workers, seconds=SECONDS):
                raise RuntimeError("not every worker is there")
            cluster.graphql(START, sensor=SENSOR)
            wait_until(lambda: bool(queue.counts().logins["received"]), seconds=SECONDS)
            began, before = time.monotonic(), _cpu(cluster, queue)
            wait_until(lambda: not sum(queue.counts().logins[key] for key in ("visible", "in_flight")), seconds=SECONDS)
            seconds, after = time.monotonic() - began, _cpu(cluster, queue)
            ((rows,),) = cluster.database.query("SELECT count(*) FROM user_logins")
            used = Cpu(*(end - begin for begin, end in zip(before, after, strict=True)))
            drain = Drain(workers, messages, rows, seconds, used)
            sys.stderr.write(f"{drain}\n")
            return drain


def _waiting(cluster: Deployment) -> int:
    """How many workers wait for runs at Redis."""
    clients = cluster.compose("exec", "-T", "redis", "redis-cli", "client", "list")
    return clients.count("cmd=brpop")


def _cpu(cluster: Deployment, queue: QueueServer) -> Cpu:
    """Of all workers, of the queue's server and of PostgreSQL, so far."""
    workers = sum(_container_cpu(cluster, worker) for worker in cluster.workers())
    return Cpu(workers, queue.cpu_seconds(), _container_cpu(cluster, cluster.container("postgres")))


def _container_cpu(cluster: Deployment, container: str) -> float:
    """By its control group, in version 2 or 1."""
    read = "cat /sys/fs/cgroup/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage"
    words = cluster.docker("exec", container, "sh", "-c", read).split()
    return int(words[1]) / 1e6 if words[0] == "usage_usec" else int(words[0]) / 1e9


def _show(rounds: list[list[Drain]]) -> bool:
    """As a table for docs/scaling.md: medians, of the ratios within a round, too. Whether the limits are met."""
    met, of_one_worker = True, 0.0
    headings = ["workers", "messages a second", "of one worker", "CPU us a message", "cores of SQS", "of PostgreSQL"]
    sys.stdout.write(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}\n")
    for number, workers in enumerate(WORKERS):
        drains = [each[number] for each in rounds]
        rate = median(drain.rate for drain in drains)
        ratio = median(drain.rate / first.rate for drain, (first, *_) in zip(drains, rounds, strict=True))
        cpu = median(drain.cpu.workers / drain.messages * 1e6 for drain in drains)
        others = [median(drain.cpu[place] / drain.seconds for drain in drains) for place in (1, 2)]
        of_one_worker = of_one_worker or cpu
        met &= ratio >= AT_LEAST[workers] and abs(cpu / of_one_worker - 1) <= CPU_VARIES
        sys.stdout.write(f"| {workers} | {rate:,.0f} | {ratio:.2f} | {cpu:.1f} | {others[0]:.2f} | {others[1]:.2f} |\n")
    return met


if __name__ == "__main__":
    sys.exit(main())
