"""
The formats of the metrics: Prometheus text, OpenMetrics, and the JSON of smtp-acs-bridge.

The contents of the spool are read at each scrape, so they are right after a crash and with several nodes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from smtprelay.model.expiry import Expiries
from smtprelay.model.queue import FINAL, STATES, QueueStats

_SIZE: Final = (
    "Size of the spool. Near smtprelay_spool_limit_bytes, raise the limit or deliver or delete mail."
)
_FREE: Final = "Free space on the spool's file system. Make room before it holds less than a day of mail."


class QueueStatsCollector(Collector):
    """The spool's gauges, from the last :class:`QueueStats`; nothing before there is one."""

    def __init__(self) -> None:
        self.stats: QueueStats | None = None

    def collect(self) -> Iterator[Metric]:
        """Give the gauges; what is unknown or empty is left out."""
        stats = self.stats
        if stats is None:
            return
        shown = (each for each in STATES if each not in FINAL or each in stats.states)
        own = [lane for lane in stats.lanes if lane.lane == ""]
        waiting = {lane.provider: lane.waiting for lane in own}
        throttled = {lane.provider: lane.throttled + (lane.ceiling is not None) for lane in own}
        text = "Deliveries by state. If many are deferred or held, smtprelay status gives the reason."
        yield _gauge("spool_deliveries", text, state={each: stats.states.get(each, 0) for each in shown})
        yield _gauge(
            "provider_waiting_deliveries", "Deliveries that wait for the provider.", provider=waiting
        )
        text = "Throttled lanes: their provider asked for fewer requests. They recover by themselves."
        yield _gauge("provider_throttled_lanes", text, provider=throttled)
        oldest = "When the oldest message that waits was received. If it is long ago, see smtprelay status."
        for name, text, value in (
            ("bytes", _SIZE, stats.bytes),
            ("filesystem_free_bytes", _FREE, stats.free),
            ("oldest_message_timestamp_seconds", oldest, stats.oldest),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"smtprelay_spool_{name}", text, value)


class ExpiryCollector(Collector):
    """When secrets, certificates and logins end."""

    def __init__(self) -> None:
        self.known: Expiries = {}

    def collect(self) -> Iterator[Metric]:
        """Give one gauge."""
        text = "When a secret, certificate or login ends: replace it before. smtprelay status names it, too."
        yield _gauge("expiry_timestamp_seconds", text, name=self.known)


def _gauge(name: str, text: str, /, **values: Mapping[str, float]) -> Metric:
    """Return a gauge with the ``values`` of one label."""
    family = GaugeMetricFamily(f"smtprelay_{name}", text, labels=list(values))
    for value_of in values.values():
        for label, value in value_of.items():
            family.add_metric([label], value)
    return family


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type: what an ``Accept`` header prefers, text by default."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def bridge_numbers(registry: CollectorRegistry) -> dict[str, Any]:
    """Return the numbers of smtp-acs-bridge under its names; it counts each recipient as a mail."""
    total = partial(_total, [sample for family in registry.collect() for sample in family.samples])
    sent = total("delivery_recipients_total", result="delivered")
    failed = sum(total("delivery_recipients_total", result=each) for each in ("failed", "expired"))
    attempts = total("delivery_attempts_total")
    seconds = total("delivery_attempt_duration_seconds_sum")
    return {
        "connections_total": int(total("smtp_connections_total", result="accepted")),
        "connections_active": int(total("smtp_connections_open")),
        "emails_sent_total": int(sent),
        "emails_failed_total": int(failed),
        "bytes_processed_total": int(total("message_size_bytes_sum")),
        "response_times_count": int(attempts),
        "average_response_time_ms": 1000 * seconds / attempts if attempts else 0.0,
        "success_rate_percent": 100 * sent / (sent + failed) if sent + failed else 100.0,
    }


def _total(samples: Sequence[Sample], name: str, **labels: str) -> float:
    """Return the sum of the ``samples`` with this name whose labels are among these."""
    named = (sample for sample in samples if sample.name == f"smtprelay_{name}")
    return sum(sample.value for sample in named if labels.items() <= sample.labels.items())


def bridge_metrics(registry: CollectorRegistry, uptime: float, version: str) -> bytes:
    """Return what smtp-acs-bridge answered on ``/metrics``, as JSON."""
    return json.dumps({**bridge_numbers(registry), "uptime_seconds": uptime, "version": version}).encode()
