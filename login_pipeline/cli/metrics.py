"""Serves what is known of the pipeline to Prometheus, asked anew at each scrape: this process counts nothing itself.

No label has values from data, so there are never more series than in docs/metrics.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from threading import Lock

import dagster as dg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from login_pipeline.defs.facts import ENDED_STATUSES, Facts, RunFacts, Source, gather
from login_pipeline.errors import ConfigurationError
from login_pipeline.logs.setup import report_warning
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import MAX_IN_FLIGHT, Settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport.client import ClientOptions

# What "recent" is in the name of a metric: several scrapes, so that each event is seen in one.
RECENT = timedelta(minutes=10)
# A scrape has 30 seconds in deploy/prometheus, and any source may be silent.
SQS = ClientOptions(max_attempts=2, read_timeout=5)

PREFIX = "login_pipeline_"


def serve(settings: Settings, instance: dg.DagsterInstance, host: str, port: int) -> None:
    """Serves until a signal ends it.

    Raises:
        ConfigurationError: the port is taken, or the address is not of this machine.
    """
    registry = CollectorRegistry()
    registry.register(PipelineCollector(settings, instance))
    try:
        _, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} of {host} cannot be listened on ({error.strerror}); name others with --host and --port"
        ) from None
    with suppress(KeyboardInterrupt):
        thread.join()


class PipelineCollector(Collector):
    """The metrics as they are when they are asked for."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self._settings = settings
        self._instance = instance
        # Two that scrape at once wait for each other: each asks everything.
        self._lock = Lock()

    def collect(self) -> Iterable[Metric]:
        """Prometheus's client calls it at each scrape. What cannot be known has no series; the log has the reason."""
        with self._lock:
            # Made anew: credentials in a file, or a host's address, may have been replaced.
            queues, database = LoginQueues(self._settings, SQS), LoginDatabase(self._settings)
            facts = gather(self._instance, queues, database, since=datetime.now(UTC) - RECENT)
        for source, sentence in facts.problems.items():
            report_warning(sentence, f"no_metrics_of_{source}")
        return [*_of_sources(facts), *(_of_runs(facts.runs, self._settings) if facts.runs else ())]


def _of_sources(facts: Facts) -> Iterator[Metric]:
    yield _gauges(
        "source_up",
        "Whether the source said what it knows at this scrape; the log has the reason where it is 0",
        "source",
        {source: source not in facts.problems for source in Source},
    )
    yield _gauges(
        "queue_messages",
        "Messages on the login queue as SQS counts them: approximate, up to a minute late",
        "state",
        facts.login_queue._asdict() if facts.login_queue else {},
    )
    yield _gauge("queue_in_flight_limit", "Messages in flight at which SQS delivers no more", MAX_IN_FLIGHT)
    yield _gauges(
        "recent_dead_letters",
        "Dead letters recorded in the last 10 minutes, by the first part of their reason code",
        "reason",
        {str(reason): letters for reason, letters in (facts.dead_letters or {}).items()},
    )


def _of_runs(runs: RunFacts, settings: Settings) -> Iterator[Metric]:
    yield _gauges(
        "runs",
        "Runs of login_job that wait for a worker, and those at work",
        "state",
        {"waiting": runs.waiting, "at_work": runs.at_work},
    )
    yield _gauge("worker_hosts", "Hosts that have worked on a run in the last 10 minutes", runs.hosts)
    yield _gauges(
        "recent_runs_ended",
        "Runs of login_job that ended in the last 10 minutes",
        "outcome",
        {status.value.lower(): runs.ended.get(status, 0) for status in ENDED_STATUSES},
    )
    yield _gauge(
        "recent_longest_run_seconds",
        "The longest run of login_job that ended in the last 10 minutes",
        runs.longest_seconds,
    )
    yield _gauge("run_limit_seconds", "LOGIN_VISIBILITY_TIMEOUT: how long a run may take", settings.visibility_timeout)
    yield _gauge("failures_in_a_row", "Newest runs of login_job that failed, one after another", runs.failures_in_a_row)
    yield _gauges(
        "recent_messages",
        "What runs did with messages in the last 10 minutes",
        "outcome",
        runs.batches._asdict(),
    )
    yield _gauge("last_receive_timestamp_seconds", "When a run last received; 0: never", _seconds(runs.received_at))
    yield _gauge(
        "oldest_received_age_seconds", "Age of the oldest message that the newest run received", runs.oldest_age
    )
    yield _gauges(
        "check_passed",
        "The newest result of each check on the table that can fail",
        "check",
        {name: result.passed for name, result in runs.checks.items() if not result.warns},
    )
    yield _gauge("rows", "Rows of user_logins at the newest check", runs.rows)
    yield _gauge(
        "rows_below_k",
        "Rows in groups of fewer than LOGIN_MIN_GROUP_SIZE users, at the newest check",
        runs.rows_below_k,
    )
    yield _gauge("dagster_database_bytes", "Size of Dagster's own database", runs.database_bytes)
    yield _gauge(
        "last_backup_timestamp_seconds",
        "When a run last made a backup; 0: never, though LOGIN_BACKUP_URL is set",
        _seconds(runs.backup_at) if runs.backup_at or settings.backup_url else None,
    )
    yield _gauge(
        "masking_key_made_timestamp_seconds",
        "The day of the key that the newest run masked with",
        _midnight(runs.key_made_on) if runs.key_made_on else None,
    )


def _gauge(name: str, says: str, value: float | None) -> Metric:
    return GaugeMetricFamily(PREFIX + name, says, value=value)


def _gauges(name: str, says: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, says, labels=[label])
    for labelled, value in values.items():
        family.add_metric([labelled], value)
    return family


def _seconds(moment: datetime | None) -> float:
    """Since the epoch."""
    return moment.timestamp() if moment else 0.0


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
