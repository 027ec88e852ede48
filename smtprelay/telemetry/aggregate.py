"""
The metrics of several processes as those of one relay.

The supervisor reads the exposition of its workers at each scrape and every few seconds, and adds up. A scrape
is exact; of a killed worker, what it counted since the last reading is missing. The multiprocess mode of
prometheus-client would need its own counters, an environment variable, and a folder to clean after a crash.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

#: Types that only grow; they are kept when their process has ended.
_GROWING: Final = ("counter", "histogram", "summary")

#: Not added: the workers' own sites are only read by the supervisor.
_OURS: Final = "smtprelay_http_requests"

#: The gauges that are added up.
_SUMS: Final = {
    "smtprelay_smtp_connections_open",
    "smtprelay_provider_in_flight",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_open_fds",
}

#: The gauges whose smallest value is shown; of all others it is the largest.
_LEAST: Final = {
    "smtprelay_provider_up",
    "smtprelay_expiry_timestamp_seconds",
    "smtprelay_spool_filesystem_free_bytes",
    "smtprelay_spool_oldest_message_timestamp_seconds",
    "process_start_time_seconds",
    "process_max_fds",
}


class Gathered(Collector):
    """
    The metrics of several processes.

    :param own: those of this process.
    """

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own
        self._metrics: dict[int, list[Metric]] = {}
        self._departed: list[Metric] = []

    def take(self, worker: int, exposition: str) -> None:
        """Replace what is known of a worker by its exposition, in Prometheus' text format."""
        metrics = text_string_to_metric_families(exposition)
        self._metrics[worker] = [metric for metric in metrics if metric.name != _OURS]

    def worker_ended(self, worker: int) -> None:
        """Keep the counters of a worker that has ended, and drop its gauges."""
        counted = [each for each in self._metrics.pop(worker, ()) if each.type in _GROWING]
        self._departed = list(_added([*self._departed, *counted]))

    def collect(self) -> Iterator[Metric]:
        """Give each metric once, added up."""
        return _added(chain(self._departed, *self._metrics.values(), self._own.collect()))


def _added(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Give each metric once, and in it each series once."""
    parts: dict[str, list[Metric]] = defaultdict(list)
    for metric in metrics:
        parts[metric.name].append(metric)
    for name, same in parts.items():
        whole = Metric(name, same[0].documentation, same[0].type)
        together = sum if whole.type in _GROWING or name in _SUMS else min if name in _LEAST else max
        values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = defaultdict(list)
        for sample in chain.from_iterable(each.samples for each in same):
            values[sample.name, tuple(sorted(sample.labels.items()))].append(sample.value)
        for (sample_name, labels), each_value in values.items():
            whole.add_sample(sample_name, dict(labels), together(each_value))
        yield whole
