"""
Which metrics the relay has: their names, labels and buckets.

One list, because dashboards and alerts are written against it: a metric is renamed
or dropped only with an entry in the release notes. Durations are in seconds, sizes in bytes.
"""

import platform
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from smtprelay.version import VERSION

#: Beyond so many sets of labels a metric counts under ``other``.
MOST_CHILDREN: Final = 2000

_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LATENCY_SECONDS = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 172800.0)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZE_BYTES = tuple(1024 * 4.0**power for power in range(9))


class Family:
    """A metric that keeps its children at hand: looking them up costs more than counting."""

    def __init__(self, metric: MetricWrapperBase) -> None:
        self._metric = metric
        self._children: dict[tuple[object, ...], Any] = {}

    def __call__(self, *labels: object) -> Any:
        """Return the child with these labels."""
        return self._children.get(labels) or self._child(labels)

    def _child(self, labels: tuple[object, ...]) -> Any:
        if not labels:
            return self._metric
        if len(self._children) >= MOST_CHILDREN:
            return self._metric.labels(*["other"] * len(labels))
        child = self._children[labels] = self._metric.labels(*labels)
        return child

    def total(self, **labels: str) -> float:
        """Return the sum over all children whose labels are among these; a histogram's is its ``_sum``."""
        return sum(
            sample.value
            for family in self._metric.collect()
            for sample in family.samples
            if sample.name.endswith(("_total", "_sum")) or family.type == "gauge"
            if labels.items() <= sample.labels.items()
        )


class Families:
    """The metrics of one relay, registered in ``registry``, each under ``smtprelay_``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        count, gauge, histogram = self._count, self._gauge, self._histogram
        build = gauge("build_info", "What runs here.", "version", "python", "twisted")
        build(VERSION, platform.python_version(), version("twisted")).set(1)
        self.ready = gauge("ready", "Whether /readyz says so.")()
        # smtp and policy
        self.connections = gauge("smtp_connections_open", "Sessions open now.", "listener")
        # A refused connection was accepted first, to be told why.
        self.sessions = count("smtp_connections", "Connections.", "listener", "result")
        self.replies = count("smtp_replies", "Replies sent.", "listener", "command", "code")
        self.rejections = count("smtp_rejections", "Refusals, by rule.", "listener", "stage", "reason")
        self.logins = count("smtp_auth_attempts", "Attempts to log in.", "listener", "mechanism", "result")
        self.tls = count("smtp_tls_sessions", "TLS handshakes.", "listener", "version")
        # spool
        self.received = count("messages_received", "Messages accepted.", "listener")
        self.recipients = count("message_recipients_received", "Their recipients.", "listener")
        self.sizes = histogram("message_size_bytes", "Their sizes.", _SIZE_BYTES, "listener")
        self.commits = histogram("spool_commit_duration_seconds", "Commit and sync.", _COMMIT_SECONDS)()
        self.spool_errors = count("spool_errors", "Operations that failed.", "operation")
        self.recovered = count("spool_recovered_messages", "Deliveries found after a crash.", "outcome")
        # dispatch
        self.attempts = count("delivery_attempts", "Attempts that ended.", "provider", "result")
        self.outcomes = count("delivery_recipients", "Recipients, by outcome.", "provider", "result")
        self.attempt_seconds = histogram(
            "delivery_attempt_duration_seconds", "How long attempts take.", _REQUEST_SECONDS, "provider"
        )
        self.latency = histogram(
            "delivery_latency_seconds", "From received to delivered.", _LATENCY_SECONDS, "provider"
        )
        self.expired = count("messages_expired", "Deliveries given up for their age.", "provider")
        self.bounced = count("messages_bounced", "Bounces made.", "provider")
        # providers
        self.up = gauge("provider_up", "0 while a lane of it is blocked.", "provider")
        self.blocked_lanes = gauge("provider_blocked_lanes", "Lanes that are stopped.", "provider")
        self.in_flight = gauge("provider_in_flight", "Attempts under way.", "provider")
        self.last_success = gauge(
            "provider_last_success_timestamp_seconds", "When it took the last message.", "provider"
        )
        self.requests = count("provider_requests", "Requests to it.", "provider", "operation", "code")
        self.request_seconds = histogram(
            "provider_request_duration_seconds",
            "How long they take.",
            _REQUEST_SECONDS,
            "provider",
            "operation",
        )
        # around
        self.http_requests = count("http_requests", "Requests to this site.", "handler", "method", "code")
        self.log_events = count("log_events", "Events of a level, written or not.", "level")
        self.lag = histogram("reactor_lag_seconds", "How late the reactor was.", _LAG_SECONDS)()

    def _count(self, name: str, text: str, *labels: str) -> Family:
        return Family(Counter(f"smtprelay_{name}", text, labels, registry=self._registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Family:
        return Family(Gauge(f"smtprelay_{name}", text, labels, registry=self._registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family:
        return Family(Histogram(f"smtprelay_{name}", text, labels, registry=self._registry, buckets=buckets))
