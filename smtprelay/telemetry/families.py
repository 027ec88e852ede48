"""
The relay's metrics, and how they count.

Dashboards and alerts depend on this list: a metric is renamed or removed only with an entry in the release
notes. The help says what is counted, when, and what to do when it is high.

A mail takes about thirty additions, all on the reactor's thread. The counters of prometheus-client take a
lock for each, which costs twice as much; so the numbers are kept here and shown by custom collectors.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import inf
from operator import itemgetter
from typing import Any, Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Fields = Mapping[str, Any]

#: All metrics but those of the spool's contents; each name begins with ``smtprelay_``.
METRICS: Final = """
gauge build_info{version,python,twisted}: Always 1; the labels are the versions in use.
gauge ready: 1 while /readyz answers 200. If it is 0, /readyz?verbose gives the reason.
gauge draining: 1 while a drain refuses new mail; smtprelay drain --undo ends it.
counter worker_deaths{worker}: Workers that ended unexpectedly. worker.died in the log gives the reason.
gauge smtp_connections_open{listener}: SMTP sessions open now. At limits.connections of the listener new
    clients are refused: raise it, or look for clients that do not say QUIT.
counter smtp_connections{listener,result}: Connections, when they open. A refused one counts as accepted, too,
    because it gets a reply. If many are refused, see smtprelay refused.
counter smtp_replies{listener,command,code}: Replies, when they are sent. If many are 4xx or 5xx, see
    smtprelay_smtp_rejections_total.
counter smtp_rejections{listener,stage,rule}: Negative replies, by the rule that refused. smtprelay refused
    lists the clients and the setting that would allow them.
counter smtp_messages_aborted{listener}: Messages that clients began and did not end. If there are many, look
    for a firewall or a timeout between client and relay.
counter smtp_auth_attempts{listener,mechanism,result}: Logins, when they succeed or fail. If many fail, a
    device has a wrong password, or somebody guesses; auth.failed in the log names the client.
counter smtp_tls_sessions{listener,version}: TLS handshakes that succeeded, by protocol version.
counter messages_received{listener}: Messages accepted, when they are committed to the spool.
counter message_recipients_received{listener}: Recipients of accepted messages.
histogram message_size_bytes{listener}: Sizes of accepted messages.
histogram spool_commit_duration_seconds: Duration of a commit with its sync. If it is long, the disk or the
    database is slow, and clients wait longer for their 250.
histogram spool_commit_operations: Operations that share a commit. It is higher under load, which is normal.
counter spool_errors{operation}: Operations on the spool, when they fail. spool.failed in the log gives the
    reason.
counter task_errors{task}: Periodic tasks, such as looking at certificates, when they fail. task.failed in the
    log gives the reason; the next run may succeed.
gauge spool_full: 1 while new mail is refused because a limit of the spool is reached. Raise spool.limit, or
    deliver or delete mail.
gauge spool_limit_bytes: The limit of smtprelay_spool_bytes.
gauge spool_limit_deliveries: The limit of waiting deliveries.
counter spool_recovered_deliveries{outcome}: Deliveries taken up again after a crash: requeued after one of
    this node, reclaimed after one of another node.
counter delivery_attempts{provider,result}: Attempts, when they end. If many do not deliver, see smtprelay
    status and the log.
counter delivery_recipients{provider,result}: Recipients, each time they are delivered, deferred, failed or
    expired.
histogram delivery_attempt_duration_seconds{provider}: Duration of attempts. If it is long, the provider
    answers slowly.
histogram delivery_latency_seconds{provider}: Time from received to delivered. If it is long, mail waits for
    retries, rates or a blocked provider.
counter deliveries_expired{provider}: Deliveries given up because their route's time was over.
counter deliveries_bounced{provider}: Bounces queued; message.bounced in the log names the deliveries.
counter deliveries_edited{action}: Deliveries that an operator changed, or that the relay rerouted.
counter dsn_sent{kind}: Reports queued to senders: failure, success or delay.
gauge provider_up{provider}: 0 while the provider cannot be reached, takes no mail, or a lane of it is
    blocked; smtprelay status gives the reason.
gauge provider_failing{provider}: 1 while the provider cannot be reached, or defers all mail; smtprelay status
    gives its host and the error.
gauge provider_blocked_lanes{provider}: Lanes blocked by a refused login, permission or certificate. Correct
    the cause, then run smtprelay providers probe.
gauge provider_in_flight{provider}: Attempts under way. At the provider's concurrency, more mail waits.
gauge provider_last_success_timestamp_seconds{provider}: When the provider took the last message.
counter credential_renewals{provider,result}: Renewals of credentials that expire, when they end: renewed or
    failed. credential.failed in the log gives the reason; mail waits when the last one has expired.
counter dkim_signatures{domain,selector,result}: DKIM signatures, when they are made: signed or failed.
    dkim.failing in the log gives the reason; mail waits, unless its key is not required.
counter provider_requests{provider,operation,code}: Requests, when they end; code is the answer's status, or
    "no answer".
histogram provider_request_duration_seconds{provider,operation}: Duration of requests to the provider.
counter http_requests{handler,method,code}: Requests to the relay's own HTTP sites.
counter log_events{level}: Events, also those below the level that is logged. If many are warn or error, read
    the log.
histogram reactor_lag_seconds: Delay of the reactor's timer, measured every second. If it is long, the process
    lacks CPU time and everything waits.
"""

#: More sets of labels than this are counted as ``other``.
MOST_CHILDREN: Final = 2000

_REQUEST_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BUCKETS: Final[Mapping[str, Sequence[float]]] = {
    "spool_commit_duration_seconds": (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
    "spool_commit_operations": (1, 2, 5, 10, 20, 50, 100, 200, 500),
    "delivery_attempt_duration_seconds": _REQUEST_SECONDS,
    "provider_request_duration_seconds": _REQUEST_SECONDS,
    "delivery_latency_seconds": (0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 14400, 86400, 172800),
    "reactor_lag_seconds": (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
    "message_size_bytes": tuple(1024 * 4.0**power for power in range(9)),
}

#: The only values of these labels: clients send anything.
_KNOWN: Final = {
    "command": frozenset(
        {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT", "AUTH"}
        | {"STARTTLS", "END-OF-DATA", "XCLIENT", "AUTH-RESPONSE", "UNKNOWN"}
    ),
    "mechanism": frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL"}),
}

#: The fields of events whose name is not the label's.
_FIELDS: Final = {"handler": "route", "result": "outcome"}

_DECLARATION: Final = re.compile(r"^(\w+) (\w+)(?:\{(.+)\})?: (.+(?:\n {4}.+)*)", re.MULTILINE)
_SHOWN: Final[Mapping[str, Callable[..., Any]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Series:
    """One series of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, value: float) -> None:
        """Add ``value``."""
        self.value += value

    def show(self, labels: Sequence[object], family: Any) -> None:
        """Show it with ``labels`` in a ``family`` of prometheus-client."""
        family.add_metric(labels, self.value)


class HistogramSeries(Series):
    """One series of a histogram; its value is the sum."""

    __slots__ = ("_bounds", "_counts")

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        """Count ``value`` in its bucket."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.value += value

    def show(self, labels: Sequence[object], family: Any) -> None:
        """Show the cumulated buckets."""
        bounds = map(floatToGoString, (*self._bounds, inf))
        family.add_metric(labels, list(zip(bounds, accumulate(self._counts), strict=True)), self.value)


class Family(Collector):
    """A metric with its series, by their labels."""

    def __init__(self, kind: str, name: str, labels: Sequence[str], text: str) -> None:
        self._labels = labels
        self._shown = partial(_SHOWN[kind], f"smtprelay_{name}", text, labels=labels)
        self._new = partial(HistogramSeries, _BUCKETS[name]) if kind == "histogram" else Series
        self._series: dict[tuple[object, ...], Series] = {}
        if not labels:
            self.series()

    def series(self, *labels: object) -> Series:
        """Return the series with these labels, or ``other`` beyond :data:`MOST_CHILDREN`."""
        return self._series.get(labels) or self._look_up(labels)

    def _look_up(self, labels: Sequence[object]) -> Series:
        names = tuple(map(_bounded, self._labels, map(str, labels)))
        if names not in self._series and len(self._series) >= MOST_CHILDREN:
            names = ("other",) * len(names)
        return self._series.setdefault(names, self._new())

    def counting(self, by: str | float = 1, **fixed: str) -> Callable[[Fields], None]:
        """
        Return a function that counts an event in the series that its fields name.

        A missing field is an empty label, one recipient (``count``) or zero.

        :param by: how much is added: a number, or the field that has it.
        :param fixed: labels that do not come from fields.
        """
        fields_of = {each: _FIELDS.get(each, each) for each in self._labels if each not in fixed}
        field, default = (by, int(by == "count")) if isinstance(by, str) else ("", by)
        pick = itemgetter(*fields_of.values()) if fields_of else lambda _: None
        at_hand: dict[object, Callable[[float], None]] = {}

        def look_up(fields: Fields) -> Callable[[float], None]:
            values = {label: fields.get(name, "") for label, name in fields_of.items()} | fixed
            add = self.series(*map(values.__getitem__, self._labels)).add
            if len(at_hand) < MOST_CHILDREN and fields.keys() >= set(fields_of.values()):
                at_hand[pick(fields)] = add
            return add

        def count(fields: Fields) -> None:
            try:
                add = at_hand[pick(fields)]
            except KeyError:  # a field is missing, or its value is new
                add = look_up(fields)
            add(fields.get(field, default))

        return count

    def collect(self) -> Iterator[Metric]:
        """Give the metric with all its series."""
        family = self._shown()
        for labels, series in self._series.items():
            series.show(labels, family)
        yield family


def _bounded(label: str, value: str) -> str:
    if value not in _KNOWN.get(label, (value,)):
        return "other"
    return "mixed" if label == "result" and "+" in value else value


def make_families(registry: CollectorRegistry) -> Mapping[str, Family]:
    """Return all of :data:`METRICS` by name, registered in ``registry``."""
    families = {}
    for kind, name, labels, text in _DECLARATION.findall(METRICS):
        families[name] = Family(kind, name, labels.split(",") if labels else [], " ".join(text.split()))
        registry.register(families[name])
    return families
