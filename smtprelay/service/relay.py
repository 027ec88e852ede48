"""
The relay as a Twisted service: every station, built and connected in the order of the mail.

Starting goes from the inside to the outside: the spool first, so that there is a place for mail, the
listeners last. Stopping goes the other way: nobody new comes in (421), what is being received and delivered
is finished, within bounds, what is not is let go, and the spool is closed when nothing needs it any more.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import LoopingCall

from smtprelay.config.listeners import Listener
from smtprelay.config.model import Config
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.synchronous.incoming import Synchronous
from smtprelay.dispatch.unreachable import LOOK_EVERY, ReachWatch
from smtprelay.interfaces import Events, Provider, Receive
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.archive import RoutingTargets
from smtprelay.model.message import Reply
from smtprelay.model.message_id import Bits, new_id
from smtprelay.net.buffer_budget import MOST, Budget
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.router import Router, Rule
from smtprelay.service.build.bounces import OwnMessages, build_delays
from smtprelay.service.build.dispatch import build_context, build_dispatcher, build_notices
from smtprelay.service.build.http import control_site, http_sites
from smtprelay.service.build.listeners import ListenerFactory, policy_user, rule
from smtprelay.service.build.providers import ProviderContext, build_providers
from smtprelay.service.build.synchronous import build_synchronous
from smtprelay.service.build.webhook import build_announcer, build_webhook
from smtprelay.service.chores import Chore, LogWatch, every
from smtprelay.service.drain import Drain
from smtprelay.service.errors import StartFailed, explain, tell_failed
from smtprelay.service.opening import DatabaseRetry, Opening
from smtprelay.service.ports import Ports, SmtpPort
from smtprelay.service.retention import SWEEP_EVERY, Retention
from smtprelay.service.threads import Threads
from smtprelay.service.workers.neighbours import Neighbours
from smtprelay.service.workers.sockets import Inherited
from smtprelay.smtp.refusals import Refusals
from smtprelay.telemetry.log import Fanout, Log
from smtprelay.telemetry.metrics import Metrics, watch_lag
from smtprelay.web.captured_mail import Mailbox
from smtprelay.web.context import Sources

__all__ = ["Relay", "StartFailed"]
#: How long sessions may go on with the message they are in, seconds; Docker kills ten after SIGTERM.
SESSIONS_BOUND: Final = 7.0
#: How long attempts may go on, seconds.
ATTEMPTS_BOUND: Final = 25.0
#: So for a client that waits for the provider's verdict: it shall hear it, if it comes in time.
VERDICTS_BOUND: Final = ATTEMPTS_BOUND + 1.0
#: How long the spool may take to let go of what was given up and to be closed, seconds.
CLOSING_BOUND: Final = 5.0


class Relay(Service):
    """
    A whole relay. Several of them may live in one process.

    :param config: what :func:`smtprelay.config.load` gives.
    :param reactor: where it listens, connects and takes the time.
    :param events: hears what happens beside Twisted's log and the metrics.
    :param mailbox: shown on the page, if there is one.
    :param inherited: in a worker, the sockets where the relay listens; its control socket then takes requests
        that were admitted elsewhere.
    :ivar metrics: with a registry of its own.
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
        mailbox: Mailbox | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self.config = config
        self.metrics = Metrics(seconds=reactor.seconds)
        if config.spool is not None:
            self.metrics.limits(config.spool.limit.bytes, config.spool.limit.deliveries)
        self.started: Deferred[None] = Deferred()
        self._starting: Deferred[None] | None = None
        self._begun: Deferred[None] | None = None
        self.spool: Spool | None = None
        #: Gives the right to ask a provider: the spool, or without one what counts in memory.
        self._permits: Spool | None = None
        self._reactor = reactor
        #: Of the mail and of all that waits; the nodes of a spool share one.
        self._clock = reactor
        self._mailbox = mailbox
        self._neighbours = Neighbours() if inherited is None else inherited.neighbours
        self._budget = Budget(MOST // self._neighbours.workers)
        self._throttle = LoginThrottle(reactor, key=self._neighbours.key, others=self._neighbours.failures)
        self._events = Fanout([self.metrics, *(events or [Log()])])
        self._refusals = Refusals(reactor, self._events)
        self._log = LogWatch(events, self._events)
        self._inherited = inherited
        self._ports = Ports(reactor, inherited)
        self._threads = Threads(reactor)
        self._mime = ProcessMimeWorker(reactor, self._events)
        self._every = partial(every, reactor, self._events)
        self._patience = DatabaseRetry(reactor, self._events, self._open_sites)
        self._providers: Mapping[str, Provider] = {}
        self._lanes = LaneStates(self._events)
        self._watch: ReachWatch | None = None
        self._dispatcher: Dispatcher | None = None
        self._operator: OperatorActions | None = None
        self._drain: Drain | None = None
        self._synchronous: Synchronous | None = None
        self._clocks: list[LoopingCall] = []
        self._keeping: Retention | None = None
        self._stopping = False
        self._since = 0.0
        self._bits = Bits()

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where it listens."""
        return self._ports.addresses

    def startService(self) -> None:
        """Begin to start; :attr:`started` tells how it ends."""
        super().startService()
        self._since = self._reactor.seconds()
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
        return Deferred.fromCoroutine(self._stop_when_begun())

    # --- starting

    async def _start(self) -> None:
        try:
            await self._build()
        except Exception as error:
            told = explain(error)
            await self._stop(tell_failed(self._events, told))
            self.running = False
            raise told from error
        self._events("relay.ready", listeners=self._ports.spoken())

    async def _build(self) -> None:
        """Build the stations, and open them when each has what it needs."""
        opening = Opening(self.config, self._reactor, self._events, self._threads, self._patience)
        permits = self._permits = await opening.open(self._budget)
        spool = self.spool = None if self.config.spool is None else permits
        self._clock = permits.clock or self._reactor
        watch = self._watch = self._build_providers(permits)
        rules = [rule(route) for route in self.config.routes]
        post = OwnMessages(
            self.config, Router(rules, self._providers), self._providers, self._new_id, self._clock
        )
        self._build_delivery(permits, post, watch)
        doors = self._build_doors(rules)
        if spool is not None:
            await opening.recover(spool)
        await watch.begin()
        await self._open_sites()
        for door in doors:
            await self._ports.open_door(door)
        self._begin(post)
        self.metrics.ready(True)

    def _build_providers(self, permits: Spool) -> ReachWatch:
        context = ProviderContext(
            reactor=self._reactor,
            events=self._events,
            defer_to_thread=self._threads.work,
            mime=self._mime,
            hostname=self.config.hostname,
        )
        self._providers = {**build_providers(self.config, context), **build_webhook(self.config, context)}
        self.metrics.known(tuple(self._providers))
        return ReachWatch(
            context.reaches,
            self._providers,
            self._reactor,
            self._events,
            spool=permits.admin,
            lanes=self._lanes,
        )

    def _build_delivery(self, permits: Spool, post: OwnMessages, watch: ReachWatch) -> None:
        """Build what takes mail to the providers: from the spool, and while its client waits."""
        config, spool = self.config, self.spool
        context = build_context(config, permits, self._providers, self._lanes, self._clock, self._events)
        notices = build_notices(config, context, post, build_announcer(config, self._new_id, self._clock))
        self._dispatcher = build_dispatcher(config, context, notices)
        self._operator = OperatorActions(context, notices.reporter, self._dispatcher, watch)
        shared = config.spool is not None and config.spool.engine == "postgres"
        self._drain = Drain(self._ports, self._dispatcher, permits.admin, shared=shared, events=self._events)
        self._synchronous = build_synchronous(
            config,
            context,
            notices,
            spool,
            defer_to_thread=self._threads.work,
            budget=self._budget,
        )

    def _build_doors(self, rules: Sequence[Rule]) -> Sequence[SmtpPort]:
        reception = ListenerFactory(
            config=self.config,
            providers=self._providers,
            rules=rules,
            users=Users(map(policy_user, self.config.users), self._threads.login, self._reactor),
            throttle=self._throttle,
            receive=self._receive,
            admits=self._admits,
            elsewhere=self._neighbours.elsewhere,
            new_id=self._new_id,
            reactor=self._reactor,
            clock=self._clock,
            events=self._events,
            refusals=self._refusals,
        )
        return [SmtpPort.of(listener, reception.factory(listener)) for listener in self.config.listeners]

    def _begin(self, post: OwnMessages) -> None:
        """Begin to deliver, and what is done again and again."""
        assert self._watch is not None
        assert self._dispatcher is not None
        assert self._permits is not None
        self._refusals.store = self._permits.refusals
        chores: list[Chore] = [
            ("reach", LOOK_EVERY, self._watch.check_providers),
            ("log", LOOK_EVERY, self._log.look),
        ]
        if self.spool is not None and self.config.spool is not None:
            self._keeping = Retention(self.spool.maintenance, self.config.spool, self._clock, self._events)
            chores += [("hold_rules", SWEEP_EVERY, self._tend), *self._keeping.chores]
            chores += build_delays(
                self.config,
                self.spool,
                self._providers,
                post,
                clock=self._clock,
                events=self._events,
                running=lambda: not self._stopping,
            )
        self._clocks = [watch_lag(self._reactor, self.metrics), *(self._every(*each) for each in chores)]
        self._dispatcher.start()

    async def _open_sites(self) -> None:
        """Show on all sites what there is now."""
        sources, parts = self.sources(), self._patience.parts
        control = control_site(self.config, sources, parts, worker=self._inherited is not None)
        for site in [*http_sites(self.config, sources, self._threads.login, parts), control]:
            await self._ports.open_site(site)

    def _receive(self, listener: Listener) -> Receive:
        """Return what takes the mail of a listener."""
        if listener.delivery == "synchronous":
            assert self._synchronous is not None
            return self._synchronous.within(listener.reply_deadline)
        assert self.spool is not None
        return self.spool.incoming

    def _admits(self, listener: Listener, size: int) -> Reply | None:
        """Return why a listener can take no message of ``size`` bytes now, or ``None`` if it can."""
        refusal = self._budget.refusal()
        if refusal is not None or listener.delivery == "synchronous" or self.spool is None:
            return refusal
        return self.spool.refusal(size)

    def _new_id(self) -> str:
        return new_id(self._clock.seconds(), self._bits)

    def sources(self) -> Sources:
        """Return what the sites show."""
        return Sources(
            spool=self.spool,
            metrics=self.metrics,
            clock=self._reactor,
            started=self._since,
            events=self._events,
            readiness=self._readiness,
            listeners=self._ports.described,
            operator=self._operator,
            mailbox=self._mailbox,
            draining=self._drain,
            permits=self._permits,
            log_trouble=self._log.trouble,
            refusals=self._refusals,
            targets=RoutingTargets.of(self.config),
        )

    async def _readiness(self) -> Mapping[str, str | None]:
        checks: dict[str, str | None] = dict.fromkeys(("recovery", "listeners", "draining"))
        checks["recovery"] = self._patience.complaint or None
        if self._stopping:
            checks["draining"] = "is on: the relay is stopping"
        elif self._drain is not None and self._drain.on:
            checks["draining"] = "is on: no new mail is accepted, smtprelay drain --undo ends that"
        if not self._clocks:
            checks["listeners"] = "not all listeners are open yet"
        if self.spool is not None:
            checks["spool"] = self.spool.maintenance.complaint or None
        return checks

    # --- while it runs

    def clock_stepped(self, seconds: float) -> None:
        """Put right what depends on the time, when the reactor's clock was put by ``seconds``."""
        where = "forward" if seconds > 0 else "back"
        self._events("relay.warning", text=f"the clock was put {where} by {abs(seconds):.0f} seconds")
        if not self.started.called:
            return
        if self._watch is not None:
            self._watch.clock_stepped(seconds)
        for each in (self._synchronous, self._dispatcher):
            if each is not None and self._clock is self._reactor:
                each.clock_stepped(seconds)

    async def _tend(self) -> None:
        """Another node may have made a rule that holds mail, and be gone when it ends."""
        if self._dispatcher is not None:
            self._dispatcher.hold_rules.kick()

    # --- stopping

    async def _stop_when_begun(self) -> None:
        if self._begun is not None:
            await self._begun
        await self._stop("requested")

    async def _stop(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self.metrics.ready(False)
        self._events("relay.stop", reason=reason)
        for call in self._clocks:
            call.stop()
        if self._watch is not None:
            self._watch.stop()
        if self._keeping is not None:
            self._keeping.stopping = True
        self._throttle.stop()
        verdicts = SESSIONS_BOUND if self._synchronous is None else VERDICTS_BOUND
        landing = [self._ports.end_sessions(SESSIONS_BOUND, verdicts)]
        if self._synchronous is not None:
            landing.append(self._synchronous.stop(ATTEMPTS_BOUND))
        if self._dispatcher is not None:
            landing.append(self._dispatcher.stop(ATTEMPTS_BOUND))
        await DeferredList(landing)
        await self._ports.close()
        self._refusals.stop()
        for provider in self._providers.values():
            await provider.close()
        await self._mime.stop()
        if self._permits is not None:
            closing = Deferred.fromCoroutine(self._leave(self._permits))
            await closing.addTimeout(CLOSING_BOUND, self._reactor).addErrback(self._not_closed)
        self._threads.stop()

    async def _leave(self, spool: Spool) -> None:
        """Let go of what was given up, so that others need not wait until our claims run out; then close."""
        try:
            if self._dispatcher is not None and self._dispatcher.given_up:
                await spool.release()
            await self._refusals.flush()
        finally:
            await spool.close()

    def _not_closed(self, failure: Any) -> None:
        reason = "no answer in time" if failure.check(TookTooLong) else failure.getErrorMessage()
        self._events("spool.failed", operation="close", reason=reason)
