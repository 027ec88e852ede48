"""
The relay's metrics for Prometheus, counted from its events.

Labels are bounded: names from the configuration, protocol words and codes; never an address, an id or the
text of an error. Each relay has a registry of its own, so that two can run in one process.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from twisted.copyright import version as twisted_version
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent

from smtprelay.model.expiry import Expiries
from smtprelay.model.queue import QueueStats
from smtprelay.telemetry.exposition import ExpiryCollector, QueueStatsCollector
from smtprelay.telemetry.families import Fields, make_families
from smtprelay.telemetry.log import EVENTS
from smtprelay.version import VERSION

_Handler = Callable[[Fields], None]


#: What an event adds to: the event, a metric, how much (or the field that has it), labels that are no fields.
_ADDED: Final[Sequence[tuple[str, str, str | float, Mapping[str, str]]]] = (
    ("worker.died", "worker_deaths", 1, {}),
    ("session.open", "smtp_connections", 1, {"result": "accepted"}),
    ("session.open", "smtp_connections_open", 1, {}),
    ("session.close", "smtp_connections_open", -1, {}),
    ("session.tls", "smtp_tls_sessions", 1, {}),
    ("smtp.reply", "smtp_replies", 1, {}),
    ("smtp.refused", "smtp_rejections", "count", {}),
    ("auth.ok", "smtp_auth_attempts", "count", {"result": "ok"}),
    ("auth.failed", "smtp_auth_attempts", "count", {"result": "failed"}),
    ("auth.failed", "smtp_rejections", "count", {}),
    ("message.aborted", "smtp_messages_aborted", 1, {}),
    ("message.queued", "messages_received", 1, {}),
    ("message.queued", "message_recipients_received", "count", {}),
    ("message.queued", "message_size_bytes", "size", {}),
    ("spool.recovered", "spool_recovered_deliveries", "deliveries", {"outcome": "requeued"}),
    ("spool.reclaimed", "spool_recovered_deliveries", "deliveries", {"outcome": "reclaimed"}),
    ("spool.commit", "spool_commit_duration_seconds", "seconds", {}),
    ("spool.commit", "spool_commit_operations", "operations", {}),
    ("spool.failed", "spool_errors", 1, {}),
    ("task.failed", "task_errors", 1, {}),
    ("attempt.started", "provider_in_flight", 1, {}),
    ("attempt.ended", "delivery_attempts", 1, {}),
    ("attempt.ended", "delivery_attempt_duration_seconds", "seconds", {}),
    ("message.delivered", "delivery_recipients", "count", {"result": "delivered"}),
    ("message.delivered", "delivery_latency_seconds", "age", {}),
    ("message.deferred", "delivery_recipients", "count", {"result": "deferred"}),
    ("message.failed", "delivery_recipients", "count", {"result": "failed"}),
    ("message.expired", "delivery_recipients", "count", {"result": "expired"}),
    ("message.expired", "deliveries_expired", 1, {}),
    ("message.bounced", "deliveries_bounced", 1, {}),
    ("message.bounced", "dsn_sent", 1, {"kind": "failure"}),
    ("dsn.queued", "dsn_sent", 1, {}),
    ("queue.edited", "deliveries_edited", "count", {}),
    ("credential.renewed", "credential_renewals", 1, {"result": "renewed"}),
    ("credential.failed", "credential_renewals", 1, {"result": "failed"}),
    ("dkim.signature", "dkim_signatures", 1, {}),
    ("provider.request", "provider_requests", 1, {}),
    ("provider.request", "provider_request_duration_seconds", "seconds", {}),
    ("http.request", "http_requests", 1, {}),
)


class Metrics:
    """
    An :class:`smtprelay.interfaces.Events` that counts.

    :param registry: by default one of its own, with the metrics of the process, too.
    :param seconds: the wall clock, seconds since the epoch.
    :ivar lag: counts by how many seconds the reactor was late.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, seconds: Callable[[], float] = time.time
    ) -> None:
        self.registry = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=self.registry)
        self._families = make_families(self.registry)
        self._seconds = seconds
        self._queue_stats = QueueStatsCollector()
        self.registry.register(self._queue_stats)
        self._expiries = ExpiryCollector()
        self.registry.register(self._expiries)
        self._in_flight: dict[tuple[object, object], Fields] = {}
        self._blocked: dict[str, set[str]] = {}
        self._failing: set[str] = set()
        self.lag = self._families["reactor_lag_seconds"].series().add
        self._count_ended = self._families["provider_in_flight"].counting(-1)
        self._handlers: dict[str, list[_Handler]] = {event: [] for event in EVENTS}
        for event, metric, by, labels in _ADDED:
            self._handlers[event].append(self._families[metric].counting(by, **labels))
        for event, handler in self._special().items():
            self._handlers[event].append(handler)
        for event, kind in EVENTS.items():
            if kind.level:
                self._handlers[event].append(self._log_event(kind.level.name))
        self._set("build_info", 1, VERSION, platform.python_version(), twisted_version)

    def _special(self) -> Mapping[str, _Handler]:
        """Return what events do to metrics other than adding."""
        return {
            "relay.drain": lambda _: self._set("draining", 1),
            "relay.undrain": lambda _: self._set("draining", 0),
            "spool.full": lambda _: self._set("spool_full", 1),
            "spool.accepting": lambda _: self._set("spool_full", 0),
            "smtp.refused": self._refused,
            "auth.failed": self._refused,
            "attempt.started": self._started,
            "attempt.ended": self._ended,
            "attempt.crashed": self._ended,
            "message.delivered": self._delivered,
            "lane.blocked": partial(self._lane, set.add),
            "lane.unblocked": partial(self._lane, set.discard),
            "provider.failing": partial(self._note_reachability, set.add),
            "provider.recovered": partial(self._note_reachability, set.discard),
        }

    def __call__(self, event: str, /, **fields: object) -> None:
        """Count ``event``; one without a metric is only counted by its level."""
        handler = self.handler_for(event)
        if handler is not None:
            handler(fields)

    def handler_for(self, event: str) -> _Handler | None:
        """Return what counts an event of this kind, or ``None``."""
        handlers = self._handlers.get(event)
        if not handlers:
            return None

        def count(fields: Fields) -> None:
            for handler in handlers:
                handler(fields)

        return count if len(handlers) > 1 else handlers[0]

    def observe(self, event: LogEvent) -> None:
        """Count, as an ``ILogObserver``, what is logged beside the relay's own events."""
        if "relay_event" not in event and "log_level" in event:
            self._log_event(event["log_level"].name)({})

    def ready(self, ok: bool) -> None:
        """Set whether the relay is ready."""
        self._set("ready", int(ok))

    def stats(self, stats: QueueStats | None) -> None:
        """
        Set what is in the spool; ``None`` is unknown.

        It also says which lanes are blocked and which providers cannot be reached: another node may have
        found that, or this one before its last start.
        """
        self._queue_stats.stats = stats
        if stats is None:
            return
        self._failing = {each.provider for each in stats.unreachable}
        providers = {*self._blocked, *self._failing, *(lane.provider for lane in stats.lanes)}
        self._blocked = {provider: set() for provider in providers}
        for lane in stats.lanes:
            if lane.blocked_reason or lane.state == "removed":
                self._blocked[lane.provider].add(lane.lane)
        for provider in providers:
            self._set_up(provider)
        for lane in stats.lanes:  # of many that are blocked the first few are named
            if lane.blocked > len(self._blocked[lane.provider]):
                self._set("provider_blocked_lanes", lane.blocked, lane.provider)

    def expiries(self, expiries: Expiries) -> None:
        """Set when secrets, certificates and logins end."""
        self._expiries.known = expiries

    def known(self, providers: tuple[str, ...]) -> None:
        """Show these providers before their first event."""
        for provider in providers:
            if provider not in self._blocked:
                self._blocked[provider] = set()
                self._set_up(provider)
                self._set("provider_in_flight", 0, provider)

    def limits(self, size: int, deliveries: int) -> None:
        """Set the limits of the spool."""
        self._set("spool_limit_bytes", size)
        self._set("spool_limit_deliveries", deliveries)

    def _set(self, gauge: str, value: float, *labels: str) -> None:
        self._families[gauge].series(*labels).value = value

    def _log_event(self, level: str) -> _Handler:
        add = self._families["log_events"].series(level).add
        return lambda _: add(1)

    def _refused(self, fields: Fields) -> None:
        if fields.get("stage") == "connect":
            connections = self._families["smtp_connections"]
            connections.series(fields.get("listener", ""), "refused").add(fields.get("count", 1))

    def _started(self, fields: Fields) -> None:
        self._in_flight[fields.get("delivery"), fields.get("attempt")] = fields

    def _ended(self, fields: Fields) -> None:
        """An attempt that crashed also ends: it is counted down once."""
        started = self._in_flight.pop((fields.get("delivery"), fields.get("attempt")), None)
        if started is not None:
            self._count_ended(started)

    def _delivered(self, fields: Fields) -> None:
        self._set("provider_last_success_timestamp_seconds", self._seconds(), fields.get("provider", ""))

    def _lane(self, change: Callable[[set[str], str], None], fields: Fields) -> None:
        provider = fields.get("provider", "")
        change(self._blocked.setdefault(provider, set()), fields.get("lane", ""))
        self._set_up(provider)

    def _note_reachability(self, change: Callable[[set[str], str], None], fields: Fields) -> None:
        change(self._failing, fields.get("provider", ""))
        self._set_up(fields.get("provider", ""))

    def _set_up(self, provider: str) -> None:
        blocked, failing = len(self._blocked.get(provider, ())), provider in self._failing
        self._set("provider_up", 0 if blocked or failing else 1, provider)
        self._set("provider_failing", int(failing), provider)
        self._set("provider_blocked_lanes", blocked, provider)


def watch_lag(clock: IReactorTime, metrics: Metrics, period: float = 1.0) -> LoopingCall:
    """Measure every ``period`` seconds how late the reactor calls, until the returned call is stopped."""
    last = clock.seconds()

    def measure() -> None:
        nonlocal last
        now = clock.seconds()
        metrics.lag(max(0.0, now - last - period))
        last = now

    call = LoopingCall(measure)
    call.clock = clock
    call.start(period, now=False)
    return call
