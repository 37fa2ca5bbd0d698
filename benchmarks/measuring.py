"""Runs one contender on a fresh backlog, and measures and checks what it did."""

from benchmarks.measurement import Measurement
from benchmarks.outcome import outcome, problems
from benchmarks.place import Place, Servers
from benchmarks.plan import OURS, Contender, Scenario
from benchmarks.processes import Ended, started


def measure(scenario: Scenario, servers: Servers, number: int) -> Measurement:
    """One run of the scenario, in round `number`."""
    with (
        servers.place(scenario.warm_up + scenario.messages, scenario.latency_ms, scenario.settings) as place,
        started(
            scenario.contender.module, place.environment, *scenario.arguments, processes=scenario.processes
        ) as children,
    ):
        clocks = Clocks(place, servers)
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
            problems=[*crashes(ended), *wrong(place, scenario.contender)],
        )


class Clocks:
    """The CPU of the servers since now, in seconds."""

    def __init__(self, place: Place, servers: Servers) -> None:
        self._queues, self._servers = place.server, servers
        self._server, self._database = place.server.cpu_seconds(), servers.database_cpu_seconds()

    def server(self) -> float:
        """SQS's side."""
        return self._queues.cpu_seconds() - self._server

    def database(self) -> float:
        """PostgreSQL's."""
        return self._servers.database_cpu_seconds() - self._database


def crashes(ended: list[Ended]) -> list[str]:
    """The processes that did not come to their end."""
    return [f"a process ended with exit code {each.exit_code} ({each.last_line})" for each in ended if each.exit_code]


def wrong(place: Place, contender: Contender = OURS) -> list[str]:
    """In what the outcome is not what was sent."""
    return problems(outcome(place), place.logins, keeps_promises=contender.keeps_promises)
