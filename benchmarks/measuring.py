"""Runs one contender on a fresh backlog, and measures and checks what it did."""

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.account import outcome, problems
from benchmarks.children import Ended, started
from benchmarks.measurement import Measurement
from benchmarks.surroundings import Place, Surroundings


class Contender(NamedTuple):
    """A module that drains a queue, and what it promises."""

    module: str
    with_inbox: bool
    keeps_rejects: bool


PLAIN = Contender("benchmarks.contenders.plain_script", with_inbox=False, keeps_rejects=False)
OVERLAPPED = Contender("benchmarks.contenders.overlapped_boto3", with_inbox=True, keeps_rejects=False)
OURS = Contender("benchmarks.contenders.ours", with_inbox=True, keeps_rejects=True)


class Scenario(NamedTuple):
    """One contender on a backlog of so many messages, at so much latency for each call, as so many processes.

    `warm_up` is how many more messages there are, which the contender drains before the clock starts.
    """

    name: str
    contender: Contender
    messages: int
    latency_ms: int | None
    processes: int = 1
    settings: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()
    warm_up: int = 0


def measure(scenario: Scenario, surroundings: Surroundings, number: int) -> Measurement:
    """One run of the scenario, in round `number`."""
    with (
        surroundings.place(scenario.warm_up + scenario.messages, scenario.latency_ms, scenario.settings) as place,
        started(
            scenario.contender.module, place.environment, *scenario.arguments, processes=scenario.processes
        ) as children,
    ):
        clocks = Clocks(place, surroundings)
        for child in children:
            child.go()
        ended = [child.wait() for child in children]
        return Measurement(
            scenario=scenario.name,
            round=number,
            messages=scenario.messages,
            seconds=max(each.said.get("seconds", 0.0) for each in ended),
            cpu_seconds=sum(each.said.get("cpu_seconds", 0.0) for each in ended),
            process_cpu_seconds=sum(each.cpu_seconds for each in ended),
            server_cpu_seconds=clocks.server(),
            database_cpu_seconds=clocks.database(),
            idle_mb=max(each.said.get("idle_mb", 0.0) for each in ended),
            peak_mb=max(each.said.get("peak_mb", 0.0) for each in ended),
            problems=[*crashes(ended), *wrong(scenario.contender, place)],
            figures={"processes": [each.said for each in ended]},
        )


class Clocks:
    """The CPU of the servers since now, in seconds; None where it cannot be seen."""

    def __init__(self, place: Place, surroundings: Surroundings) -> None:
        self._backlog, self._databases = place.backlog, surroundings.databases
        self._server, self._database = self._backlog.cpu_seconds(), self._databases.cpu_seconds()

    def server(self) -> float | None:
        """SQS's side."""
        now = self._backlog.cpu_seconds()
        return None if now is None or self._server is None else now - self._server

    def database(self) -> float | None:
        """PostgreSQL's."""
        now = self._databases.cpu_seconds()
        return None if now is None or self._database is None else now - self._database


def crashes(ended: list[Ended]) -> list[str]:
    """The processes that did not come to their end."""
    return [f"a process ended with exit code {each.exit_code} ({each.last_line})" for each in ended if each.exit_code]


def wrong(contender: Contender, place: Place) -> list[str]:
    """In what the outcome is not what was sent."""
    found = outcome(place.database_url, place.backlog.left(), with_inbox=contender.with_inbox)
    return problems(found, place.backlog.sent, keeps_rejects=contender.keeps_rejects)
