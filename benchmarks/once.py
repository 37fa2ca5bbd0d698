"""One contender, measured alone, for whoever works on it: `python -m benchmarks.once ours --messages 20000`."""

import argparse
import json
from dataclasses import asdict

from benchmarks.measuring import OURS, OVERLAPPED, PLAIN, Scenario, measure
from benchmarks.servers import servers

CONTENDERS = {"ours": OURS, "overlapped": OVERLAPPED, "plain": PLAIN}


def main() -> None:
    """Prints each run as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--latency-ms", type=int, default=0, help="that the server takes for each call")
    parser.add_argument("--processes", type=int, default=1, help="that drain the queue together")
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    scenario = Scenario(
        "once", CONTENDERS[given.contender], given.messages, given.latency_ms, processes=given.processes
    )
    with servers() as surroundings:
        for number in range(given.runs):
            run = measure(scenario, surroundings, number)
            derived = {
                "messages_per_second": round(run.messages_per_second),
                "cpu_us_per_message": round(run.cpu_us, 1),
                "server_cpu_us": run.server_cpu_us,
                "database_cpu_us": run.database_cpu_us,
                "over_idle_mb": run.over_idle_mb,
            }
            print(json.dumps({**derived, **asdict(run)}), flush=True)


if __name__ == "__main__":
    main()
