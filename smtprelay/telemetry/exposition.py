"""
How the metrics leave: as Prometheus text, as OpenMetrics, or as the JSON of smtp-acs-bridge.

What lies in the spool is not counted along but asked for when somebody scrapes,
so it stays right after a crash and with several nodes on one spool.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from smtprelay.model.queue import FINAL, STATES, QueueStats


class StockCollector(Collector):
    """The spool's gauges, out of the last :class:`QueueStats`; nothing before there is one."""

    def __init__(self) -> None:
        self.stock: QueueStats | None = None

    def collect(self) -> Iterator[Metric]:
        """Give the gauges; what is unknown or empty is left out."""
        if self.stock is None:
            return
        yield _states(self.stock)
        yield _waiting(self.stock)
        yield _throttled(self.stock)
        yield _gauge("spool_bytes", "The size of the spool's files.", self.stock.bytes)
        if self.stock.free is not None:
            yield _gauge("spool_filesystem_free_bytes", "Free on the spool's file system.", self.stock.free)
        if self.stock.oldest is not None:
            text = "When the oldest message that waits was received."
            yield _gauge("spool_oldest_message_timestamp_seconds", text, self.stock.oldest)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"smtprelay_{name}", text, value=value)


def _states(stock: QueueStats) -> Metric:
    family = GaugeMetricFamily("smtprelay_spool_deliveries", "Deliveries that wait.", labels=["state"])
    for state in STATES:
        if state not in FINAL or state in stock.states:
            family.add_metric([state], stock.states.get(state, 0))
    return family


def _waiting(stock: QueueStats) -> Metric:
    family = GaugeMetricFamily(
        "smtprelay_provider_waiting_deliveries", "Deliveries that wait for it.", labels=["provider"]
    )
    waiting: dict[str, int] = {}
    for lane in stock.lanes:
        waiting[lane.provider] = waiting.get(lane.provider, 0) + lane.waiting
    for provider, count in waiting.items():
        family.add_metric([provider], count)
    return family


def _throttled(stock: QueueStats) -> Metric:
    family = GaugeMetricFamily(
        "smtprelay_provider_throttled_lanes", "Lanes that go slower than they may.", labels=["provider"]
    )
    slow = {lane.provider: 0 for lane in stock.lanes}
    for lane in stock.lanes:
        slow[lane.provider] += lane.ceiling is not None
    for provider, count in slow.items():
        family.add_metric([provider], count)
    return family


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type: what an ``Accept`` header prefers, text by default."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def bridge_numbers(registry: CollectorRegistry) -> dict[str, Any]:
    """Return the numbers that smtp-acs-bridge had, under its names; a recipient is a mail to it."""
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
