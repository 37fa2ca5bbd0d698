"""Serves what is known of the pipeline to Prometheus, asked anew at each scrape: this process counts nothing itself.

No label has values from data, so there are never more series than in docs/metrics.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock

import dagster as dg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from login_pipeline.defs.facts import gather
from login_pipeline.defs.figures import RECENT, Figure, figures
from login_pipeline.errors import ConfigurationError
from login_pipeline.logs.setup import report_warning
from login_pipeline.postgres.database import LoginDatabase
from login_pipeline.settings import Settings
from login_pipeline.sqs.login_queues import LoginQueues
from login_pipeline.sqs.transport.client import ClientOptions

# All of it has the time of an answer, facts.ANSWER_SECONDS.
SQS = ClientOptions(max_attempts=2, read_timeout=5)

PREFIX = "login_pipeline_"


def serve(settings: Settings, instance: dg.DagsterInstance, host: str, port: int, prefix: Sequence[str]) -> None:
    """Serves what is known of assets with this prefix, until a signal ends it.

    Raises:
        ConfigurationError: the port is taken, or the address is not of this machine.
    """
    registry = CollectorRegistry()
    registry.register(PipelineCollector(settings, instance, prefix))
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

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, prefix: Sequence[str] = ()) -> None:
        self._settings = settings
        self._instance = instance
        self._prefix = prefix
        # Two that scrape at once wait for each other: each asks everything.
        self._lock = Lock()

    def collect(self) -> Iterable[Metric]:
        """Prometheus's client calls it at each scrape. What cannot be known has no series; the log has the reason."""
        with self._lock:
            # Made anew: credentials in a file, or a host's address, may have been replaced.
            queues, database = LoginQueues(self._settings, SQS), LoginDatabase(self._settings, rotation_seconds=0)
            since = datetime.now(UTC) - RECENT
            facts = gather(self._instance, queues, database, since=since, prefix=self._prefix)
        for source, sentence in facts.problems.items():
            report_warning(sentence, f"no_metrics_of_{source}")
        return map(_metric, figures(facts, self._settings))


def _metric(figure: Figure) -> Metric:
    name = PREFIX + figure.name
    if not isinstance(figure.value, Mapping):
        return GaugeMetricFamily(name, figure.says, value=figure.value)
    family = GaugeMetricFamily(name, figure.says, labels=[figure.label])
    for labelled, value in figure.value.items():
        family.add_metric([labelled], value)
    return family
