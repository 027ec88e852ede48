"""
The loop that keeps the mail moving.

It sleeps until there is a reason not to: an accept that says so, an attempt that ended, or the time at
which the spool said that something becomes due. Then it asks the spool once, begins what it got, and
sleeps again.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from smtprelay.dispatch import events as report
from smtprelay.dispatch.attempt import Attempts
from smtprelay.dispatch.decision import returned
from smtprelay.dispatch.dsn.render import BounceSettings
from smtprelay.dispatch.dsn.reporter import DsnReporter, Post
from smtprelay.dispatch.hold_rule_runner import HoldRuleRunner
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.probe import Probes
from smtprelay.dispatch.reroute import RerouteRunner
from smtprelay.dispatch.retry import SPOOL_AGAIN, delay
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool, WorkQueue
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.queue import FINAL
from smtprelay.model.route import Route

#: The spool's clock may be a little behind ours: what it calls due is not asked for faster than this.
_SHORTEST_SLEEP: Final = 0.05

#: The spool is asked again before it has answered, so that what became free is not waited for twice.
_MOST_QUESTIONS: Final = 2


class Dispatcher:
    """
    Attempts what the spool has, until each delivery has come to its end.

    :param providers: by name.
    :param routes: by name; see :class:`smtprelay.model.route.Route`.
    :param clock: usually the reactor; its seconds are since the epoch.
    :param jitter: gives a number from 0 to 1, as :func:`random.random`.
    :param post: makes a bounce into a message with a route; accepted with the settlement.
    :param notifier: makes the events for the webhook, where a route asks for them.
    :param lanes: what is known of the lanes that are stopped.
    :param lease: how long a claim holds without being renewed, seconds.
    :param probe_unreachable: see :class:`~smtprelay.dispatch.operator.OperatorActions`.
    :ivar operator: what an operator may do beside changing the queue.
    """

    def __init__(
        self,
        spool: Spool,
        providers: Mapping[str, Provider],
        routes: Mapping[str, Route],
        *,
        lanes: LaneStates,
        clock: IReactorTime,
        events: Events,
        jitter: Callable[[], float],
        post: Post,
        bounces: BounceSettings,
        notifier: WebhookNotifier | None = None,
        lease: float = 60.0,
        probe_unreachable: Callable[[str], None] = lambda _provider: None,
    ) -> None:
        self._spool: WorkQueue = spool
        self._clock = clock
        self._events = events
        self._jitter = jitter
        self._renew_every = lease / 3.0
        self._lanes = lanes
        reporter = DsnReporter(bounces, post, clock)
        self._tending = HoldRuleRunner(spool.admin, clock, events)
        self.operator = OperatorActions(
            spool.admin,
            providers,
            reporter,
            lanes,
            seconds=clock.seconds,
            events=events,
            wake=self._look_anew,
            holds_changed=self._tending.kick,
            probe_unreachable=probe_unreachable,
        )
        self._probes = Probes(spool, providers, lanes, clock, events)
        self._reroutes = RerouteRunner(spool.admin, providers, routes, lanes, clock=clock, events=events)
        self._attempts = Attempts(
            spool=spool,
            settle=self._settle,
            providers=providers,
            routes=routes,
            lanes=lanes,
            reporter=reporter,
            notifier=notifier,
            clock=clock,
            events=events,
            chance=jitter,
        )
        self._claiming = False
        self._flights: dict[Deferred[Settlement | None], Claim] = {}
        self._chores: set[Deferred[Any]] = set()
        self._asking = self._asked = self._answered = 0
        self._ask_again = False
        self._backlog = False
        self._failures = 0
        self._alarm: IDelayedCall | None = None
        self._renewal: IDelayedCall | None = None
        self._landed: Deferred[None] | None = None

    @property
    def attempts(self) -> int:
        """How many attempts are under way."""
        return len(self._flights)

    @property
    def given_up(self) -> bool:
        """Whether attempts were given up when it stopped: they are claimed, and nobody ends them."""
        return self._attempts.given_up

    def start(self) -> None:
        """Begin to claim, and hear of each accept from now on; also after :meth:`pause`."""
        self._claiming = True
        self._spool.listen(self.take)
        self._tending.kick()
        self._wake()

    def take(self, claims: Sequence[Claim]) -> None:
        """Attempt ``claims`` at once; without any, ask the spool, for something is waiting there."""
        self._begin(claims)
        if not claims:
            self._wake()

    def clock_stepped(self, seconds: float) -> None:
        """Put all times right when the clock was put forward by ``seconds``, or back; then ask the spool."""
        self._lanes.clock_stepped(seconds)
        self._reroutes.begin_anew()
        self._watch("step", self._spool.clock_stepped(seconds))
        self._wake()

    def pause(self) -> None:
        """Claim nothing more; what is under way goes on. Claims that still come in are given back."""
        self._claiming = False
        self._spool.listen(None)
        _cancel(self._alarm)
        self._alarm = None
        self._probes.stop()

    def stop(self, bound: float) -> Deferred[None]:
        """
        Claim nothing more; fire when the attempts under way have ended, or after ``bound`` seconds.

        What has not ended then is given up: it has an intent and no outcome, and is resolved when it is
        claimed again.
        """
        self.pause()
        self._reroutes.stop()
        self._tending.stop()
        landed: Deferred[None] = Deferred()
        self._landed = landed
        limit = self._clock.callLater(bound, self._give_up)

        def stopped(_: None) -> None:
            _cancel(limit)
            _cancel(self._renewal)

        landed.addCallback(stopped)
        self._see_whether_landed()
        return landed

    # --- attempts

    def _begin(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if self._claiming:
                self._attempt(claim)
            else:
                self._watch("settle", self._spool.settle(claim, returned(claim, self._clock.seconds())))

    def _attempt(self, claim: Claim) -> None:
        flight = Deferred.fromCoroutine(
            self._attempts.run(claim, lambda: self._watch("taken", self._free_slot(claim)))
        )
        self._flights[flight] = claim
        if self._renewal is None and not flight.called:
            self._renewal = self._clock.callLater(self._renew_every, self._renew)
        flight.addCallbacks(self._end, self._break, callbackArgs=(flight,), errbackArgs=(flight,))

    async def _settle(self, claim: Claim, settlement: Settlement) -> bool:
        """Record an outcome; what waits for the slot is asked for behind it, so that one commit does both."""
        if not (_is_over(settlement) and (self._backlog or self._asking)):
            return await self._spool.settle(claim, settlement)
        settled = Deferred.fromCoroutine(self._spool.settle(claim, settlement))
        self._wake()
        if self._ask_again and self._asking < _MOST_QUESTIONS:
            self._watch("claim", self._ask())
        return await settled

    def _end(self, settlement: Settlement | None, flight: "Deferred[Settlement | None]") -> None:
        """Ask the spool if it goes again; who waits for its slot was asked for when it was settled."""
        del self._flights[flight]
        if settlement is None or not _is_over(settlement):
            self._wake()
        self._see_whether_landed()

    def _break(self, failure: Failure, flight: "Deferred[Settlement | None]") -> None:
        """An attempt ended without an outcome: it was given up, or this package has a bug."""
        claim = self._flights.pop(flight)
        if not self.given_up:
            self._events(
                "attempt.crashed",
                attempt=claim.attempt,
                exc=failure.getTraceback(),
                **report.about(claim.delivery),
            )
        self._wake()
        self._see_whether_landed()

    async def _free_slot(self, claim: Claim) -> None:
        await self._spool.release_slot(claim)
        if self._backlog:
            self._wake()

    def _renew(self) -> None:
        """Renew all leases together. With nothing under way there is no timer."""
        self._renewal = None
        if self._flights:
            self._watch("renew", self._spool.renew(list(self._flights.values())))
            self._renewal = self._clock.callLater(self._renew_every, self._renew)

    # --- asking the spool

    def _wake(self) -> None:
        """Ask the spool now; or once more, if it is being asked and its answer may not know of this yet."""
        self._ask_again = self._claiming
        if self._claiming and not self._asking:
            self._watch("claim", self._ask())

    async def _ask(self) -> None:
        self._asking += 1
        try:
            while self._ask_again:
                self._ask_again = False
                await self._ask_once()
        finally:
            self._asking -= 1

    async def _ask_once(self) -> None:
        gone, look_again = await self._reroutes.gone()
        self._asked += 1
        number = self._asked
        work = await self._spool.claim()
        self._failures = 0
        # What was asked first may be answered last, and knows less.
        if number > self._answered:
            self._answered = number
            if self._lanes.suspend(work.suspended):
                self._reroutes.begin_anew()
            self._sleep_until(min(filter(None, (work.due, look_again)), default=None))
            self._backlog = work.waiting
        self._begin(work.claims)
        for provider, lane in work.probes:
            self._probe(provider, lane)
        for provider, lane in [*work.stopped, *gone]:
            self._reroute(provider, lane)

    def _look_anew(self) -> None:
        """An operator stopped or opened something: that may change the way of all that waits."""
        self._reroutes.begin_anew()
        self._wake()

    def _probe(self, provider: str, lane: str) -> None:
        probe = self._probes.start(provider, lane) if self._claiming else None
        if probe is not None:
            self._watch("block", probe.addCallback(self._probed))

    def _probed(self, _: None) -> None:
        self._reroutes.begin_anew()
        self._wake()

    def _reroute(self, provider: str, lane: str) -> None:
        reroute = self._reroutes.start(provider, lane)
        if reroute is not None:
            self._watch("move", reroute.addCallback(self._moved))

    def _moved(self, count: int) -> None:
        if count:
            self._wake()

    def _sleep_until(self, due: float | None) -> None:
        _cancel(self._alarm)
        self._alarm = None
        if due is not None and self._claiming:
            wait = max(due - self._clock.seconds(), _SHORTEST_SLEEP)
            self._alarm = self._clock.callLater(wait, self._wake)

    def _watch(self, operation: str, work: "Coroutine[Deferred[Any], Any, Any] | Deferred[Any]") -> None:
        """Run ``work`` to its end; a failure of the spool is an event, and the spool is asked again later."""
        chore = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        self._chores.add(chore)
        chore.addErrback(self._spool_failed, operation).addBoth(self._done, chore)

    def _spool_failed(self, failure: Failure, operation: str) -> None:
        if failure.check(CancelledError) and not self._claiming:
            return
        reason = f"{failure.type.__name__}: {failure.getErrorMessage()}" if failure.type else "unknown"
        self._events("spool.failed", operation=operation, reason=reason)
        wait = delay(SPOOL_AGAIN, self._failures, self._jitter())
        self._failures += 1
        self._sleep_until(self._clock.seconds() + wait)

    def _done(self, _: object, chore: "Deferred[Any]") -> None:
        self._chores.discard(chore)
        self._see_whether_landed()

    # --- stopping

    def _see_whether_landed(self) -> None:
        if self._landed is not None and not self._flights and not self._chores:
            landed, self._landed = self._landed, None
            landed.callback(None)

    def _give_up(self) -> None:
        """Let go of what is under way, and do not wait for it: neither for an answer nor for the spool."""
        self._attempts.given_up = True
        for each in [*self._flights, *self._chores]:
            each.cancel()
        if self._landed is not None:
            landed, self._landed = self._landed, None
            landed.callback(None)


def _is_over(settlement: Settlement) -> bool:
    """Tell whether nothing of the delivery waits any more, and no message of ours begins with its end."""
    return settlement.state in FINAL and settlement.bounce is None and settlement.event is None


def _cancel(call: IDelayedCall | None) -> None:
    if call is not None and call.active():
        call.cancel()
