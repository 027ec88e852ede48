"""
The metrics of several processes as those of one relay.

prometheus-client's own way (its multiprocess mode) has each process write its numbers into files that are
mapped into memory. It wants an environment variable before its first import, counters of its own with a lock
around each, which a message would pay for some forty times, and a folder to be swept after a crash. Here the
process in front asks its workers for their exposition instead, at each scrape and every few seconds, and adds
up: exact at the scrape; of a worker that is killed, what it counted since it was last asked is missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from attrs import define, field
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

#: What only grows, and is kept when its process is gone.
_GROWING: Final = ("counter", "histogram", "summary")

#: What a worker's own site was asked, it was asked by us.
_OURS: Final = ("smtprelay_http_requests",)

#: How the gauges of several processes become one; all others: the largest.
_GAUGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    **dict.fromkeys(
        (
            "smtprelay_smtp_connections_open",
            "smtprelay_provider_in_flight",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
        ),
        lambda one, other: one + other,
    ),
    **dict.fromkeys(
        (
            "smtprelay_provider_up",
            "smtprelay_spool_filesystem_free_bytes",
            "smtprelay_spool_oldest_message_timestamp_seconds",
            "process_start_time_seconds",
            "process_max_fds",
        ),
        min,
    ),
}

#: A sample's name and its labels.
_Key = tuple[str, tuple[tuple[str, str], ...]]


@define
class _SummedSample:
    """One metric, added up."""

    kind: str
    text: str
    samples: dict[_Key, float] = field(factory=dict)

    def add(self, metric: Metric) -> None:
        """Add the samples of one process."""
        for sample in metric.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            have = self.samples.get(key)
            self.samples[key] = (
                sample.value if have is None else self._together(metric.name)(have, sample.value)
            )

    def _together(self, name: str) -> Callable[[float, float], float]:
        return float.__add__ if self.kind in _GROWING else _GAUGES.get(name, max)


class Gathered(Collector):
    """
    All that several processes count.

    :param own: what this process counts itself.
    """

    def __init__(self, own: CollectorRegistry) -> None:
        self._own = own
        self._told: dict[int, list[Metric]] = {}
        self._departed: dict[str, _SummedSample] = {}

    def take(self, worker: int, exposition: str) -> None:
        """Take what a worker tells, in Prometheus' text format, in place of what it told before."""
        told = text_string_to_metric_families(exposition)
        self._told[worker] = [metric for metric in told if metric.name not in _OURS]

    def depart(self, worker: int) -> None:
        """Keep what a worker that is gone has counted; its gauges are gone with it."""
        _add(self._departed, (each for each in self._told.pop(worker, ()) if each.type in _GROWING))

    def collect(self) -> Iterator[Metric]:
        """Give each metric once, added up."""
        sums: dict[str, _SummedSample] = {}
        for name, kept in self._departed.items():
            sums[name] = _SummedSample(kept.kind, kept.text, dict(kept.samples))
        for told in self._told.values():
            _add(sums, told)
        _add(sums, self._own.collect())
        for name, each in sums.items():
            metric = Metric(name, each.text, each.kind)
            for (sample, labels), value in each.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _add(sums: dict[str, _SummedSample], metrics: Iterable[Metric]) -> None:
    for metric in metrics:
        sums.setdefault(metric.name, _SummedSample(metric.type, metric.documentation)).add(metric)
