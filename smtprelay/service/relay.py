"""
The relay as a Twisted service: every station, built and connected in the order of the mail.

It starts from the inside to the outside: the spool first, the listeners last. It stops the other way: new
clients are turned away (421), what is being received and delivered is finished within bounds, the rest is
given up, and the spool is closed last.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import LoopingCall

from smtprelay.config.model import Config, SpoolSettings
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.reachability_watch import CHECK_EVERY
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.expiry import Expiries
from smtprelay.model.message_id import id_maker
from smtprelay.net.buffer_budget import MOST, Budget
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.sending_rate import SendingRates
from smtprelay.service.build.http import HttpSites
from smtprelay.service.build.listeners import ClientCounts
from smtprelay.service.build.running import OpenSpool, RelayResources, build
from smtprelay.service.drain import Drain, why_draining
from smtprelay.service.errors import StartFailed, explain, tell_failed
from smtprelay.service.listeners import Listeners
from smtprelay.service.periodic import LogWatch, PeriodicTask, every
from smtprelay.service.ports import Ports
from smtprelay.service.reload import NOT_READY, FileReloading, Reloader, as_failed, unexpected_failure
from smtprelay.service.remote_secrets import RemoteSecrets
from smtprelay.service.retention import SWEEP_EVERY, Retention
from smtprelay.service.spool import DatabaseRetry, SpoolOpener
from smtprelay.service.threads import Threads
from smtprelay.service.workers.sockets import Inherited, addresses_line
from smtprelay.smtp.refusals import Refusals
from smtprelay.telemetry.log import Fanout, Log
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.telemetry.metrics import Metrics, watch_lag
from smtprelay.web.captured_mail import CapturedMail
from smtprelay.web.context import Operations, Reloaded, ReloadFailed, Sources

__all__ = ["Relay", "StartFailed"]
#: Seconds that sessions have to finish their message; Docker kills ten seconds after SIGTERM.
SESSIONS_BOUND: Final = 7.0
#: Seconds that attempts have to finish.
ATTEMPTS_BOUND: Final = 25.0
#: The same for a client that waits for the provider's result, with a second to tell it.
OUTCOMES_BOUND: Final = ATTEMPTS_BOUND + 1.0
#: Seconds that the spool has to release what was given up and to close.
CLOSING_BOUND: Final = 5.0


class Relay(Service):
    """
    A whole relay. Several of them may live in one process. Implements :class:`.web.context.RelayStatus`.

    :param config: what :func:`smtprelay.config.load` gives.
    :param reactor: for its ports, connections and timers.
    :param events: get what happens, in addition to the metrics; default: Twisted's log.
    :param captured: mail shown on the page, if there is any.
    :param inherited: in a worker, the sockets where the relay listens; its control socket then takes requests
        that were admitted elsewhere.
    :param load: reads the configuration again for a reload; it raises :class:`smtprelay.config.ConfigError`.
    :ivar metrics: with a registry of its own.
    :ivar since: when it was started, seconds since the epoch.
    :ivar started: fires when the relay is ready; fails with :class:`StartFailed`, nothing left open, and
        with ``CancelledError`` if it was stopped before. ``running`` is false then.
    :ivar spool: ``None`` without one, and before it is open.
    :ivar addresses: where it listens, by the names of listeners and sites, once it is ready.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        *,
        events: Sequence[Events] = (),
        captured: CapturedMail | None = None,
        inherited: Inherited | None = None,
        load: Callable[[], Config] | None = None,
    ) -> None:
        self._config = config
        self.metrics = Metrics(seconds=reactor.seconds)
        if config.spool is not None:
            self.metrics.limits(config.spool.limit.bytes, config.spool.limit.deliveries)
        self.since = 0.0
        self.started: Deferred[None] = Deferred()
        self._starting: Deferred[None] | None = None
        self._begun: Deferred[None] | None = None
        self.spool: Spool | None = None
        #: The spool, or without one what counts requests to the providers in memory.
        self._permits: Spool | None = None
        self._reactor = reactor
        #: Of the mail and of all that waits; the nodes of a spool share its clock.
        self._clock = reactor
        self._captured = captured
        self._memory = None if inherited is None else inherited.memory
        self._budget = Budget(MOST if self._memory is None else MOST // self._memory.workers)
        self._throttle = LoginThrottle(reactor, self._memory)
        self._events = Fanout([self.metrics, *(events or [Log()])], config.privacy.mask)
        self._refusals = Refusals(reactor, self._events)
        self._log = LogWatch(events, self._events)
        self._inherited = inherited
        self._listeners = Listeners(reactor, self._events, self._refusals, inherited)
        self._ports = Ports(reactor)
        self._threads = Threads(reactor)
        self._secrets = RemoteSecrets(reactor, self._events, self._threads)
        self._reloading = None if load is None else FileReloading(load, self._threads, self._events, reactor)
        self._mime = ProcessMimeWorker(reactor, self._events)
        self._every = partial(every, reactor, self._events)
        self._dispatcher: Dispatcher | None = None
        self._reloader: Reloader | None = None
        self._drain: Drain | None = None
        self._retention: Retention | None = None
        self._clocks: list[LoopingCall] = []
        self._stopping = False
        self._sites = HttpSites(self._ports, self._threads.login, inherited is not None)
        self._retry = DatabaseRetry(config, reactor, self._events, self._sites, self.sources())

    @property
    def config(self) -> Config:
        """The configuration that is in force."""
        return self._config if self._reloader is None else self._reloader.running.config

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where it listens."""
        return {**self._listeners.addresses, **self._ports.addresses}

    def startService(self) -> None:
        """Begin to start; :attr:`started` fires when that ends."""
        super().startService()
        self.since = self._reactor.seconds()
        self._threads.start()
        begun = self._begun = Deferred()
        starting = self._starting = Deferred.fromCoroutine(self._start())
        starting.addCallbacks(self.started.callback, self.started.errback)
        starting.addBoth(lambda _: begun.callback(None))

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when the spool is closed. A start that is under way is given up."""
        super().stopService()
        if self._starting is not None and not self._stopping:
            self._starting.cancel()
        return Deferred.fromCoroutine(self._stop("requested", self._begun))

    # --- starting

    async def _start(self) -> None:
        try:
            await self._build()
        except Exception as error:
            failure = explain(error)
            await self._stop(tell_failed(self._events, failure))
            self.running = False
            raise failure from error
        self._events("relay.ready", listeners=addresses_line(self.addresses))

    async def _build(self) -> None:
        """Build the stations, and open them when all are there."""
        await self._secrets.read(self.config)
        opener = SpoolOpener(self.config, self._reactor, self._events, self._threads, self._retry)
        permits = self._permits = await opener.open(self._budget)
        spool = self.spool = None if self.config.spool is None else permits
        clock = self._clock = permits.clock or self._reactor
        resources = RelayResources(
            reactor=self._reactor,
            events=self._events,
            threads=self._threads,
            mime=self._mime,
            budget=self._budget,
            counts=ClientCounts(throttle=self._throttle, rates=SendingRates(self._reactor)),
            log=self._log,
        )
        storage = OpenSpool(
            spool=spool,
            permits=permits,
            clock=clock,
            lanes=LaneStates(self._events),
            new_id=id_maker(clock.seconds, secrets.randbits),
        )
        running = build(self.config, resources, storage)
        lease = (self.config.spool or SpoolSettings()).lease
        dispatcher = self._dispatcher = Dispatcher(running.context, running.end_reports, lease=lease)
        shared = self.config.spool is not None and self.config.spool.engine == "postgres"
        self._drain = Drain(self._listeners, dispatcher, permits.admin, shared=shared, events=self._events)
        reloader = self._reloader = Reloader(
            running, resources, storage, dispatcher, self._listeners, self._sites, self.sources()
        )
        await running.credentials.check_required()
        if spool is not None:
            await opener.recover(spool)
        await reloader.open()
        self._begin(permits, dispatcher)
        if self._reloading is not None:
            self._reloading.target = self
        self.metrics.ready(True)

    def _begin(self, permits: Spool, dispatcher: Dispatcher) -> None:
        """Begin to deliver, and start the periodic tasks."""
        self._refusals.store = permits.refusals
        tasks: list[PeriodicTask] = [("log", CHECK_EVERY, self._log.check)]
        chores: Sequence[PeriodicTask] = ()
        if self.spool is not None and self.config.spool is not None:
            self._retention = Retention(self.spool.maintenance, self.config.spool, self._clock, self._events)
            tasks.append(("hold_rules", SWEEP_EVERY, partial(maybeDeferred, dispatcher.hold_rules.wake)))
            chores = self._retention.tasks
        self._clocks = [
            watch_lag(self._reactor, self.metrics),
            *(self._every(*each) for each in tasks),
            *(self._every(*each, of_spool=True) for each in chores),
        ]
        dispatcher.start()

    def sources(self) -> Sources:
        """Return what the sites show."""
        return Sources(
            relay=self,
            clock=self._reactor,
            events=self._events,
            spool=self.spool,
            refusals=self._refusals,
            operations=Operations(
                lanes=None if self._permits is None else self._permits.admin,
                draining=self._drain,
                reloading=self._reloading,
            ),
            captured=self._captured,
        )

    def listeners(self) -> Sequence[Mapping[str, Any]]:
        return self._listeners.described()

    def log_trouble(self) -> LogTrouble | None:
        return self._log.trouble()

    def expiries(self) -> Expiries:
        return {} if self._reloader is None else self._reloader.running.watches.expiries.known

    def failing_keys(self) -> Sequence[str]:
        signers = () if self._reloader is None else self._reloader.running.watches.signers
        return [text for signer in signers for text in signer.failing]

    async def registry(self) -> CollectorRegistry:
        return self.metrics.registry

    async def readiness(self) -> Mapping[str, str | None]:
        checks = {
            "recovery": self._retry.complaint or None,
            "listeners": None if self._clocks else "not all listeners are open yet",
            "draining": why_draining(self._stopping, self._drain is not None and self._drain.on),
        }
        if self.spool is not None:
            checks["spool"] = self.spool.maintenance.complaint or None
        return checks

    # --- while it runs

    def clock_stepped(self, seconds: float) -> None:
        """Correct all times after the system clock was set forward by ``seconds``, or back."""
        where = "forward" if seconds > 0 else "back"
        self._events("relay.warning", text=f"the system clock was set {where} by {abs(seconds):.0f} seconds")
        if not self.started.called:
            return
        if self._reloader is None or self._dispatcher is None:
            return
        self._reloader.running.watches.reachability.clock_stepped(seconds)
        # Two providers may share one.
        for renewed in set(self._reloader.running.renewed.values()):
            renewed.clock_stepped(seconds)
        self._secrets.clock_stepped(seconds)
        if self._clock is self._reactor:
            self._dispatcher.clock_stepped(seconds)
            for deliveries in self._reloader.deliveries:
                deliveries.clock_stepped(seconds)

    def hang_up(self) -> None:
        """Reload the configuration because of SIGHUP."""
        if self._reloading is not None:
            Deferred.fromCoroutine(self._reloading.hang_up()).addErrback(unexpected_failure, self._events)

    async def reload(self, config: Config) -> Reloaded:
        """
        Go on with another configuration without dropping a session; return what it has changed.

        :raises ReloadFailed: nothing has changed.
        """
        if self._reloader is None:
            raise ReloadFailed(NOT_READY, later=True)
        try:
            await self._secrets.read(config)
            return await self._reloader.use(config)
        except StartFailed as error:
            raise as_failed(error) from error
        finally:
            await self._secrets.keep_only(self.config)

    async def use(self, config: Config) -> Reloaded:
        """Do the same, for :class:`FileReloading`."""
        return await self.reload(config)

    # --- stopping

    async def _stop(self, reason: str, begun: Deferred[None] | None = None) -> None:
        if begun is not None:
            await begun
        if self._stopping:
            return
        self._stopping = True
        self.metrics.ready(False)
        self._events("relay.stop", reason=reason)
        for call in self._clocks:
            call.stop()
        if self._retention is not None:
            self._retention.stopping = True
        await self._secrets.stop()
        if self._reloader is not None:
            self._reloader.stop()
        self._throttle.stop()
        synchronous = any(listener.delivery == "synchronous" for listener in self.config.listeners)
        stopping = [
            self._listeners.end_sessions(SESSIONS_BOUND, OUTCOMES_BOUND if synchronous else SESSIONS_BOUND),
        ]
        if self._reloader is not None:
            stopping += [each.stop(ATTEMPTS_BOUND) for each in self._reloader.deliveries]
        if self._dispatcher is not None:
            stopping.append(self._dispatcher.stop(ATTEMPTS_BOUND))
        await DeferredList(stopping)
        await DeferredList([self._listeners.close(), Deferred.fromCoroutine(self._ports.close())])
        self._refusals.stop()
        if self._reloader is not None:
            await self._reloader.close()
        await self._mime.stop()
        if self._permits is not None:
            closing = Deferred.fromCoroutine(self._leave(self._permits))
            await closing.addTimeout(CLOSING_BOUND, self._reactor).addErrback(self._not_closed)
        self._threads.stop()

    async def _leave(self, spool: Spool) -> None:
        """Release what was given up, so that other nodes need not wait for our leases to end; then close."""
        try:
            if self._dispatcher is not None and self._dispatcher.given_up:
                await spool.release()
            await self._refusals.flush()
        finally:
            await spool.close()

    def _not_closed(self, failure: Any) -> None:
        reason = "it did not close in time" if failure.check(TookTooLong) else failure.getErrorMessage()
        self._events("spool.failed", operation="close", reason=reason)
