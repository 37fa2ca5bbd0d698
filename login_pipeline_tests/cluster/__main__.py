"""Drains through the containers, loses a part in the middle of each further drain, and accounts for every message.

`python -m login_pipeline_tests.cluster`, or `make cluster-test`. It needs Docker. Exit codes: 0 every message is in one
place after each; 1 one is not, or the rest was not drained without a person; 2 Docker cannot run the containers.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import psycopg2

from login_pipeline.local.ports import wait_until
from login_pipeline.signals import raise_at_signals
from login_pipeline_tests.bodies import valid
from login_pipeline_tests.cluster.deployment import Deployment, deployment
from login_pipeline_tests.cluster.disturbances import DISTURBANCES

WORKERS = 3
MALFORMED_EVERY = 1000
# The part of a drain's messages that is in the table when it is disturbed.
MIDDLE = 0.2
SECONDS = 1800.0


class Outcome(NamedTuple):
    """What became of the messages of one drain; `wrong` says in what that is not right."""

    what: str
    sent: int
    rows: int
    dead_letters: int
    copies: int
    seconds: float
    wrong: list[str]

    def line(self) -> str:
        """As a row of the table in docs/scaling.md."""
        outcome = ", ".join(self.wrong) or "nothing lost, nothing twice"
        figures = f"{self.sent:,} | {self.rows:,} | {self.dead_letters} | {self.copies} | {self.seconds:.0f}"
        return f"| {self.what} | {figures} | {outcome} |"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m login_pipeline_tests.cluster", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="of the first drain, which nothing disturbs")
    parser.add_argument("--disturbed", type=int, default=20_000, help="of each further one")
    parser.add_argument("--only", nargs="+", choices=list(DISTURBANCES), default=list(DISTURBANCES), metavar="WHAT")
    given = parser.parse_args()
    raise_at_signals()
    outcomes = []
    try:
        with deployment(WORKERS) as cluster:
            sys.stdout.write(
                "| what | sent | rows | dead letters | copies | s | outcome |\n|---|---|---|---|---|---|---|\n"
            )
            for what in ["nothing is lost", *given.only]:
                count = given.disturbed if what in DISTURBANCES else given.messages
                outcomes.append(_drain(cluster, what, count))
                sys.stdout.write(f"{outcomes[-1].line()}\n")
                sys.stdout.flush()
                if outcomes[-1].wrong:
                    sys.stderr.write(cluster.logs())
    except KeyboardInterrupt:
        return 130
    except (FileNotFoundError, RuntimeError) as error:
        sys.stderr.write(f"docker-compose.yml cannot be run here, with Docker and Compose 2: {error}\n")
        return 2
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _drain(cluster: Deployment, what: str, count: int) -> Outcome:
    rows_before, recorded_before, letters_before = _rows(cluster)[0], *_letters(cluster)
    started = time.monotonic()
    not_noticed: list[str] = []
    with ThreadPoolExecutor(1) as sender:
        sending = sender.submit(_send, cluster, what, count)
        if disturb := DISTURBANCES.get(what):
            wait_until(lambda: _tried(_rows, cluster)[0] - rows_before > MIDDLE * count, seconds=SECONDS)
            try:
                disturb(cluster)
            except AssertionError as error:
                not_noticed = [str(error)]
        logins, malformed = sending.result()
    drained = wait_until(
        lambda: _tried(_rows, cluster)[0] - rows_before >= logins and cluster.queue.count() == 0, seconds=SECONDS
    )
    seconds = time.monotonic() - started
    rows, users = _rows(cluster)
    recorded, letters = _letters(cluster)
    recorded, letters = recorded - recorded_before, letters - letters_before
    facts = {
        "not drained in time": not drained,
        f"{logins - (rows - rows_before)} rows missing": rows - rows_before != logins,
        f"{rows - users} rows twice": rows != users,
        f"{recorded} dead letters instead of {malformed}": recorded != malformed,
        f"{recorded - letters} dead letters missing": letters < recorded,
    }
    wrong = [*not_noticed, *(fact for fact, is_so in facts.items() if is_so)]
    return Outcome(what, count, rows - rows_before, recorded, letters - recorded, seconds, wrong)


def _send(cluster: Deployment, what: str, count: int) -> tuple[int, int]:
    """How many logins, each of a user of its own, and how many malformed messages."""
    malformed = [number for number in range(count) if number % MALFORMED_EVERY == 0]
    bodies = [valid(user_id=f"{what} {number}") if number % MALFORMED_EVERY else "{" for number in range(count)]

    def send(first: int) -> None:
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[first : first + 10])]
        while entries:
            with suppress(Exception):  # it may be what is away
                sent = cluster.queue.client.send_message_batch(QueueUrl=cluster.queue.url, Entries=entries)  # type: ignore[arg-type]
                confirmed = {each["Id"] for each in sent.get("Successful", [])}
                entries = [each for each in entries if each["Id"] not in confirmed]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(0, count, 10)))
    return count - len(malformed), len(malformed)


def _rows(cluster: Deployment) -> tuple[int, int]:
    """Rows, and the users that they are of."""
    ((rows, users),) = cluster.database.query("SELECT count(*), count(DISTINCT user_id) FROM user_logins")
    return rows, users


def _letters(cluster: Deployment) -> tuple[int, int]:
    """Messages that are recorded as dead letters, and the letters: some are copies, where SQS's response was lost."""
    ((recorded,),) = cluster.database.query("SELECT count(*) FROM user_logins_dead_letters")
    return recorded, cluster.dead_letter_queue.count()


def _tried(ask: Callable[[Deployment], tuple[int, int]], cluster: Deployment) -> tuple[int, int]:
    """Nothing, where PostgreSQL is what is away."""
    try:
        return ask(cluster)
    except psycopg2.Error:
        return 0, 0


if __name__ == "__main__":
    sys.exit(main())
