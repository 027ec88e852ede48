"""
The relay's numbers for Prometheus, kept by listening to its events.

No station knows about metrics: whoever tells an event has said enough. Labels are
bounded: names from the configuration, protocol words and codes; never an address, an
id or an error's text. Each relay has a registry of its own, so that two fit in one process.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import LogEvent

from smtprelay.model.queue import QueueStats
from smtprelay.telemetry.exposition import StockCollector
from smtprelay.telemetry.families import Families
from smtprelay.telemetry.log import EVENTS

Fields = Mapping[str, Any]

#: The words that may become the ``command`` and ``mechanism`` labels: clients send anything.
COMMANDS: Final = frozenset(
    {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT", "AUTH"}
    | {"STARTTLS", "END-OF-DATA", "AUTH-RESPONSE", "UNKNOWN"}
)
MECHANISMS: Final = frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"})


class Metrics:
    """
    An :class:`smtprelay.interfaces.Events` that counts.

    Fields that an event lacks count as empty labels, as one recipient or as zero.

    :param registry: where the metrics are registered; by default one of its own, which
        then has the process's metrics too.
    :param seconds: the wall clock, seconds since the epoch.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, seconds: Callable[[], float] = time.time
    ) -> None:
        self.registry = registry or CollectorRegistry()
        if registry is None:
            ProcessCollector(registry=self.registry)
        self.families = Families(self.registry)
        self._seconds = seconds
        self._stock = StockCollector()
        self.registry.register(self._stock)
        self._flying: dict[tuple[object, object], str] = {}
        self._blocked: dict[str, set[str]] = {}
        self._failing: set[str] = set()
        self._lines = {
            event: self.families.log_events(kind.level.name) for event, kind in EVENTS.items() if kind.level
        }
        self._counts: dict[str, Callable[[Fields], None]] = {
            "relay.drain": self._draining,
            "relay.undrain": self._not_draining,
            "worker.died": self._died,
            "session.open": self._opened,
            "session.close": self._closed,
            "session.tls": self._encrypted,
            "smtp.reply": self._replied,
            "auth.ok": self._logged_in,
            "auth.failed": self._not_logged_in,
            "smtp.refused": self._refused,
            "message.aborted": self._aborted,
            "message.queued": self._queued,
            "spool.commit": self._committed,
            "spool.recovered": self._recovered,
            "spool.reclaimed": self._reclaimed,
            "spool.failed": self._spool_failed,
            "spool.full": lambda _: self.families.spool_full.set(1),
            "spool.accepting": lambda _: self.families.spool_full.set(0),
            "attempt.started": self._started,
            "attempt.ended": self._ended,
            "attempt.crashed": self._landed,
            "message.delivered": self._delivered,
            "message.deferred": self._deferred,
            "message.failed": self._failed,
            "message.expired": self._expired,
            "message.bounced": self._bounced,
            "dsn.queued": self._notified,
            "queue.edited": self._edited,
            "lane.blocked": self._lane_blocked,
            "lane.unblocked": self._lane_open,
            "provider.failing": self._unreachable,
            "provider.recovered": self._reached,
            "provider.request": self._requested,
            "http.request": self._served,
        }

    def __call__(self, event: str, /, **fields: object) -> None:
        """Count ``event``; one that has no metric counts by its level alone."""
        hear = self.handler_for(event)
        if hear is not None:
            hear(fields)

    def handler_for(self, event: str) -> Callable[[Fields], None] | None:
        """Return what counts an event of this kind, or ``None``; see :class:`.log.Telling`."""
        line, count = self._lines.get(event), self._counts.get(event)
        if line is None:
            return count

        def count_both(fields: Fields) -> None:
            line.inc()
            if count is not None:
                count(fields)

        return count_both

    def observe(self, event: LogEvent) -> None:
        """Count, as an ``ILogObserver``, what others than the relay's own events log."""
        if "relay_event" not in event and "log_level" in event:
            self.families.log_events(event["log_level"].name).inc()

    # what is asked for, not heard

    def ready(self, ok: bool) -> None:
        """Note whether the relay is ready."""
        self.families.ready.set(1 if ok else 0)

    def stock(self, stock: QueueStats | None) -> None:
        """
        Note what lies in the spool; ``None`` is unknown.

        It also decides which lanes are blocked, and what cannot be reached: another node may have found that,
        or this one before it was started again.
        """
        self._stock.stock = stock
        if stock is None:
            return
        self._failing = {each.provider for each in stock.unreachable}
        providers = {*self._blocked, *self._failing, *(lane.provider for lane in stock.lanes)}
        self._blocked = {provider: set() for provider in providers}
        for lane in stock.lanes:
            if lane.blocked_reason or lane.state == "removed":
                self._blocked[lane.provider].add(lane.lane)
        for provider in providers:
            self._set_up(provider)

    def known(self, providers: tuple[str, ...]) -> None:
        """Show these providers before anything happened at them."""
        for provider in providers:
            self._blocked.setdefault(provider, set())
            self._set_up(provider)
            self.families.in_flight(provider).set(0)

    def limits(self, size: int, deliveries: int) -> None:
        """Show the limits of the spool."""
        self.families.spool_limit_bytes.set(size)
        self.families.spool_limit_deliveries.set(deliveries)

    def lag(self, seconds: float) -> None:
        """Note by how much the reactor was late."""
        self.families.lag.observe(seconds)

    # the relay itself

    def _draining(self, _fields: Fields) -> None:
        self.families.draining.set(1)

    def _not_draining(self, _fields: Fields) -> None:
        self.families.draining.set(0)

    def _died(self, fields: Fields) -> None:
        self.families.deaths(fields.get("worker", "")).inc()

    # smtp and policy

    def _opened(self, fields: Fields) -> None:
        listener = fields.get("listener", "")
        self.families.sessions(listener, "accepted").inc()
        self.families.connections(listener).inc()

    def _closed(self, fields: Fields) -> None:
        self.families.connections(fields.get("listener", "")).dec()

    def _encrypted(self, fields: Fields) -> None:
        self.families.tls(fields.get("listener", ""), fields.get("version", "")).inc()

    def _replied(self, fields: Fields) -> None:
        command = fields.get("command", "")
        known = command if command in COMMANDS else "other"
        self.families.replies(fields.get("listener", ""), known, fields.get("code", "")).inc()

    def _logged_in(self, fields: Fields) -> None:
        self._login(fields, "ok")

    def _not_logged_in(self, fields: Fields) -> None:
        self._login(fields, "failed")
        self._refused(fields)

    def _login(self, fields: Fields, result: str) -> None:
        mechanism = fields.get("mechanism", "")
        known = mechanism if mechanism in MECHANISMS else "other"
        self.families.logins(fields.get("listener", ""), known, result).inc(fields.get("count", 1))

    def _refused(self, fields: Fields) -> None:
        listener, stage, count = fields.get("listener", ""), fields.get("stage", ""), fields.get("count", 1)
        self.families.rejections(listener, stage, fields.get("rule", "")).inc(count)
        if stage == "connect":
            self.families.sessions(listener, "refused").inc(count)

    def _aborted(self, fields: Fields) -> None:
        self.families.aborted(fields.get("listener", "")).inc()

    # spool

    def _queued(self, fields: Fields) -> None:
        listener = fields.get("listener", "")
        self.families.received(listener).inc()
        self.families.recipients(listener).inc(fields.get("count", 1))
        self.families.sizes(listener).observe(fields.get("size", 0))

    def _committed(self, fields: Fields) -> None:
        self.families.commits.observe(fields.get("seconds", 0.0))
        self.families.groups.observe(fields.get("operations", 0))

    def _recovered(self, fields: Fields) -> None:
        self.families.recovered("requeued").inc(fields.get("deliveries", 0))

    def _reclaimed(self, fields: Fields) -> None:
        self.families.recovered("reclaimed").inc(fields.get("deliveries", 0))

    def _spool_failed(self, fields: Fields) -> None:
        self.families.spool_errors(fields.get("operation", "")).inc()

    # dispatch

    def _started(self, fields: Fields) -> None:
        provider = fields.get("provider", "")
        self._flying[fields.get("delivery"), fields.get("attempt")] = provider
        self.families.in_flight(provider).inc()

    def _landed(self, fields: Fields) -> None:
        """Whether it crashed, ended or both: it is in flight no more."""
        provider = self._flying.pop((fields.get("delivery"), fields.get("attempt")), None)
        if provider is not None:
            self.families.in_flight(provider).dec()

    def _ended(self, fields: Fields) -> None:
        self._landed(fields)
        provider, outcome = fields.get("provider", ""), fields.get("outcome", "")
        self.families.attempts(provider, "mixed" if "+" in outcome else outcome).inc()
        self.families.attempt_seconds(provider).observe(fields.get("seconds", 0.0))

    def _delivered(self, fields: Fields) -> None:
        provider = fields.get("provider", "")
        self._settled(fields, "delivered")
        self.families.last_success(provider).set(self._seconds())
        if "age" in fields:
            self.families.latency(provider).observe(fields["age"])

    def _deferred(self, fields: Fields) -> None:
        self._settled(fields, "deferred")

    def _failed(self, fields: Fields) -> None:
        self._settled(fields, "failed")

    def _expired(self, fields: Fields) -> None:
        self._settled(fields, "expired")
        self.families.expired(fields.get("provider", "")).inc()

    def _settled(self, fields: Fields, result: str) -> None:
        self.families.outcomes(fields.get("provider", ""), result).inc(fields.get("count", 1))

    def _bounced(self, fields: Fields) -> None:
        self.families.bounced(fields.get("provider", "")).inc()
        self.families.reports("failure").inc()

    def _notified(self, fields: Fields) -> None:
        self.families.reports(fields.get("kind", "")).inc()

    def _edited(self, fields: Fields) -> None:
        self.families.edited(fields.get("action", "")).inc(fields.get("count", 1))

    # providers, web

    def _lane_blocked(self, fields: Fields) -> None:
        provider = fields.get("provider", "")
        self._blocked.setdefault(provider, set()).add(fields.get("lane", ""))
        self._set_up(provider)

    def _lane_open(self, fields: Fields) -> None:
        provider = fields.get("provider", "")
        self._blocked.setdefault(provider, set()).discard(fields.get("lane", ""))
        self._set_up(provider)

    def _unreachable(self, fields: Fields) -> None:
        self._failing.add(fields.get("provider", ""))
        self._set_up(fields.get("provider", ""))

    def _reached(self, fields: Fields) -> None:
        self._failing.discard(fields.get("provider", ""))
        self._set_up(fields.get("provider", ""))

    def _set_up(self, provider: str) -> None:
        blocked, failing = len(self._blocked.get(provider, ())), provider in self._failing
        self.families.up(provider).set(0 if blocked or failing else 1)
        self.families.failing(provider).set(int(failing))
        self.families.blocked_lanes(provider).set(blocked)

    def _requested(self, fields: Fields) -> None:
        provider, operation = fields.get("provider", ""), fields.get("operation", "")
        self.families.requests(provider, operation, fields.get("code", "")).inc()
        self.families.request_seconds(provider, operation).observe(fields.get("seconds", 0.0))

    def _served(self, fields: Fields) -> None:
        labels = (fields.get("route", ""), fields.get("method", ""), fields.get("code", ""))
        self.families.http_requests(*labels).inc()


def watch_lag(clock: IReactorTime, metrics: Metrics, period: float = 1.0) -> LoopingCall:
    """
    Measure each ``period`` seconds how late the reactor calls; stop the call that is returned to end it.
    """
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
