"""What the model takes as given, and from where: workers, scaler, prices, and the day's traffic."""

import math
from typing import NamedTuple

from login_pipeline.ingest.preflight import PRIMARY_SECONDS

MINUTE, HOUR, DAY = 60, 3600, 86_400


class Place(NamedTuple):
    """A worker, of one core: what it does in a second, and how long it takes to begin and to end."""

    # Source: docs/performance.md, one process at 15 ms a call.
    logins_per_second: float = 22_832
    # Source: docs/performance.md, "Where the time goes now".
    malformed_per_second: float = 2_080
    # Source: docs/performance.md, "Which setting for what": the fixed cost of a run.
    run_seconds: float = 1.0
    # The part by which a run's time varies. Source: docs/performance.md, "vary by a third and more".
    varies: float = 1 / 3
    # Not measured: a node has room, an image is pulled, and three seconds of imports.
    start_seconds: int = 30
    # Source: login_pipeline/instance/worker.py, LAST_SECONDS.
    stop_seconds: int = 10
    # A run that finds no database.
    no_database_seconds: float = PRIMARY_SECONDS


class Scaler(NamedTuple):
    """The HorizontalPodAutoscaler that KEDA makes from deploy/kubernetes/autoscaling.yaml.

    A replica for each LOGIN_BATCH_SIZE messages, and LOGIN_MAX_CONCURRENT_RUNS of them at most.
    """

    # As in the manifest.
    min_replicas: int = 1
    stabilization: int = 300
    # Source: Kubernetes, "Horizontal Pod Autoscaling".
    sync: int = 15
    tolerance: float = 0.1


class Prices(NamedTuple):
    """In US dollars. Sources: AWS Fargate, us-east-1, Linux on x86: 1 vCPU and 2 GB; docs/performance.md for SQS."""

    worker_hour: float = 0.04048 + 2 * 0.004445
    call: float = 0.40 / 1e6


class Hours(NamedTuple):
    """From one second of the day until another."""

    begin: int
    end: int

    def __contains__(self, second: object) -> bool:
        """Whether the second is among them."""
        return isinstance(second, int) and self.begin <= second < self.end


class Traffic(NamedTuple):
    """Logins a second at night and at the day's peak, and what befalls the day."""

    night: float = 20
    peak: float = 400
    # Of all messages, at any time.
    malformed: float = 0.001
    silence: Hours = Hours(3 * HOUR, 4 * HOUR)
    burst: Hours = Hours(10 * HOUR, 10 * HOUR + 15 * MINUTE)
    burst_factor: float = 50
    no_database: Hours = Hours(14 * HOUR, 15 * HOUR)
    poison: Hours = Hours(19 * HOUR, 19 * HOUR + 30 * MINUTE)
    # Malformed messages for each login.
    poison_factor: float = 10
    # The dead-letter queue takes no letter: the runs fail, and load their logins all the same.
    no_letters: Hours = Hours(21 * HOUR, 21 * HOUR + 30 * MINUTE)

    @property
    def befallen(self) -> dict[str, Hours]:
        """What befalls the day, by its name."""
        return {
            "silence": self.silence,
            "burst": self.burst,
            "no database": self.no_database,
            "poison": self.poison,
            "no letters": self.no_letters,
        }

    def rates(self, second: int) -> tuple[float, float]:
        """Logins and malformed messages in a second of the day."""
        if second in self.silence or second >= DAY:
            return 0, 0
        by_day = (1 - math.cos(2 * math.pi * (second / DAY - 4 / 24))) / 2
        logins = self.night + (self.peak - self.night) * by_day
        malformed = logins * (self.poison_factor if second in self.poison else self.malformed)
        return logins * (self.burst_factor if second in self.burst else 1), malformed


class Model(NamedTuple):
    """What a simulated day is made of, but for the settings and the sensor."""

    traffic: Traffic = Traffic()
    place: Place = Place()
    scaler: Scaler = Scaler()
    prices: Prices = Prices()
    seed: int = 1


MODEL = Model()
