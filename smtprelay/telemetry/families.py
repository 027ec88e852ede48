"""
Which metrics the relay has: their names, labels and buckets.

One list, because dashboards and alerts are written against it: a metric is renamed
or dropped only with an entry in the release notes. Durations are in seconds, sizes in bytes.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from math import inf
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from smtprelay.version import VERSION

#: Beyond so many sets of labels a metric counts under ``other``.
MOST_CHILDREN: Final = 2000

_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_OPERATIONS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LATENCY_SECONDS = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 172800.0)
_LAG_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SIZE_BYTES = tuple(1024 * 4.0**power for power in range(9))


class Number:
    """One series of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, by: float = 1) -> None:
        """Add ``by``."""
        self.value += by

    def dec(self) -> None:
        """Take one away; of a gauge only."""
        self.value -= 1

    def set(self, value: float) -> None:
        """Let it be ``value``; of a gauge only."""
        self.value = value


class Spread:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value`` in the first bucket that is wide enough."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bounds, and how many values each of them is not below."""
        bounds = (floatToGoString(bound) for bound in (*self._bounds, inf))
        return list(zip(bounds, accumulate(self._counts), strict=True))


Child = TypeVar("Child", Number, Spread)


class Family(Collector, Generic[Child]):
    """
    A metric with its series.

    All that is counted is counted on the reactor's thread, many times a message: so the numbers are kept
    without the locks of prometheus-client, which only shows them.

    :param shown: makes the empty family of prometheus-client.
    :param child: makes a new series.
    :param labels: their names.
    """

    def __init__(
        self,
        shown: Callable[..., Any],
        child: Callable[[], Child],
        name: str,
        text: str,
        labels: Sequence[str],
    ) -> None:
        self._shown = partial(shown, f"smtprelay_{name}", text, labels=labels)
        self._new: Callable[[], Child] = child
        self._series: dict[tuple[str, ...], Child] = {}
        self._at_hand: dict[tuple[object, ...], Child] = {}

    def __call__(self, *labels: object) -> Child:
        """Return the series with these labels; beyond :data:`MOST_CHILDREN` one for all others."""
        return self._at_hand.get(labels) or self._look_up(labels)

    def _look_up(self, labels: tuple[object, ...]) -> Child:
        names = tuple(map(str, labels))
        if len(self._at_hand) >= MOST_CHILDREN:
            names = ("other",) * len(labels)
            return self._series.setdefault(names, self._new())
        child = self._at_hand[labels] = self._series.setdefault(names, self._new())
        return child

    def collect(self) -> Iterator[Metric]:
        """Give the metric with all its series."""
        family = self._shown()
        for labels, child in self._series.items():
            if isinstance(child, Spread):
                family.add_metric(labels, child.buckets(), child.sum)
            else:
                family.add_metric(labels, child.value)
        yield family


class Families:
    """The metrics of one relay, registered in ``registry``, each under ``smtprelay_``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        count, gauge, histogram = self._count, self._gauge, self._histogram
        build = gauge("build_info", "What runs here.", "version", "python", "twisted")
        build(VERSION, platform.python_version(), version("twisted")).set(1)
        self.ready = gauge("ready", "Whether /readyz says so.")()
        self.draining = gauge("draining", "Whether it takes nothing new.")()
        self.deaths = count("worker_deaths", "Workers that ended by themselves.", "worker")
        # smtp and policy
        self.connections = gauge("smtp_connections_open", "Sessions open now.", "listener")
        # A refused connection was accepted first, to be told why.
        self.sessions = count("smtp_connections", "Connections.", "listener", "result")
        self.replies = count("smtp_replies", "Replies sent.", "listener", "command", "code")
        self.rejections = count("smtp_rejections", "Refusals, by rule.", "listener", "stage", "rule")
        self.aborted = count("smtp_messages_aborted", "Messages whose end did not come.", "listener")
        self.logins = count("smtp_auth_attempts", "Attempts to log in.", "listener", "mechanism", "result")
        self.tls = count("smtp_tls_sessions", "TLS handshakes.", "listener", "version")
        # spool
        self.received = count("messages_received", "Messages accepted.", "listener")
        self.recipients = count("message_recipients_received", "Their recipients.", "listener")
        self.sizes = histogram("message_size_bytes", "Their sizes.", _SIZE_BYTES, "listener")
        self.commits = histogram("spool_commit_duration_seconds", "Commit and sync.", _COMMIT_SECONDS)()
        self.groups = histogram("spool_commit_operations", "Operations in a commit.", _OPERATIONS)()
        self.spool_errors = count("spool_errors", "Operations that failed.", "operation")
        self.spool_full = gauge("spool_full", "1 while it refuses mail for want of room.")()
        self.spool_limit_bytes = gauge("spool_limit_bytes", "So much content it may hold.")()
        self.spool_limit_deliveries = gauge("spool_limit_deliveries", "So many deliveries may wait.")()
        self.recovered = count("spool_recovered_deliveries", "Deliveries found after a crash.", "outcome")
        # dispatch
        self.attempts = count("delivery_attempts", "Attempts that ended.", "provider", "result")
        self.outcomes = count("delivery_recipients", "Recipients, by outcome.", "provider", "result")
        self.attempt_seconds = histogram(
            "delivery_attempt_duration_seconds", "How long attempts take.", _REQUEST_SECONDS, "provider"
        )
        self.latency = histogram(
            "delivery_latency_seconds", "From received to delivered.", _LATENCY_SECONDS, "provider"
        )
        self.expired = count("deliveries_expired", "Deliveries given up for their age.", "provider")
        self.bounced = count("deliveries_bounced", "Bounces made.", "provider")
        self.edited = count("deliveries_edited", "Deliveries that an operator changed.", "action")
        self.reports = count("dsn_sent", "Reports to senders: failure, success or delay.", "kind")
        # providers
        self.up = gauge("provider_up", "0 while it is not reached, or a lane of it is blocked.", "provider")
        self.failing = gauge("provider_failing", "1 while it cannot be reached.", "provider")
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

    def _count(self, name: str, text: str, *labels: str) -> Family[Number]:
        return self._registered(Family(CounterMetricFamily, Number, name, text, labels))

    def _gauge(self, name: str, text: str, *labels: str) -> Family[Number]:
        return self._registered(Family(GaugeMetricFamily, Number, name, text, labels))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family[Spread]:
        return self._registered(Family(HistogramMetricFamily, partial(Spread, buckets), name, text, labels))

    def _registered(self, family: Family[Child]) -> Family[Child]:
        self._registry.register(family)
        return family
