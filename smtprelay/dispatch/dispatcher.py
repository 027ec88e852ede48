"""
Claims the deliveries that are due, and begins their attempts.

It asks the spool after an accept, after an attempt that ended, and at the time at which, by the spool,
something becomes due.
"""

from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from smtprelay.dispatch import events as delivery_events
from smtprelay.dispatch.attempt import AttemptEnd, PreparedAttempt, prepare
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.decision import Decision, DecisionInput, decide, returned
from smtprelay.dispatch.deliver import deliver
from smtprelay.dispatch.end_reports import EndReports
from smtprelay.dispatch.hold_rule_runner import HoldRuleRunner
from smtprelay.dispatch.probe import probe_lane
from smtprelay.dispatch.record import record
from smtprelay.dispatch.reroute import RerouteRunner
from smtprelay.dispatch.retry import SPOOL_AGAIN, delay
from smtprelay.interfaces.fit import with_sizes
from smtprelay.model.attempt import Claim
from smtprelay.model.queue import FINAL

#: The spool's clock may be a little behind ours: what it calls due is not asked for faster than this.
_SHORTEST_SLEEP: Final = 0.05

#: The spool is asked again before it has answered, so that what became free is not waited for twice.
_MOST_QUESTIONS: Final = 2


class Dispatcher:
    """
    Attempts what the spool has, until each delivery is finished.

    :param lease: how long a claim holds without being renewed, seconds.
    :ivar hold_rules: applies the rules that hold mail.
    :ivar given_up: attempts were given up when it stopped: they are claimed, and have no outcome.
    """

    def __init__(self, context: DispatchContext, end_reports: EndReports, *, lease: float = 60.0) -> None:
        self._context = context
        self._end_reports = end_reports
        self._spool, self._clock, self._events = context.spool, context.clock, context.events
        self._renew_every = lease / 3.0
        self.hold_rules = HoldRuleRunner(context.spool.admin, context.clock, context.events)
        self._reroutes = RerouteRunner(context)
        self.given_up = False
        self._claiming = False
        #: Providers that an earlier configuration had; what was claimed for one meanwhile is given back.
        self._removed: set[str] = set()
        self._under_way: dict[Deferred[None], Claim] = {}
        #: What else is under way; a probe by its lane, so that there is one at a time.
        self._tasks: dict[Deferred[Any] | tuple[str, str], Deferred[Any]] = {}
        self._asking = self._last_request = self._last_answer = 0
        self._ask_again = False
        self._backlog = False
        self._failures = 0
        self._alarm: IDelayedCall | None = None
        self._renewal: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def attempts(self) -> int:
        """How many attempts are under way."""
        return len(self._under_way)

    def start(self) -> None:
        """Begin to claim, and take over after each accept from now on; also after :meth:`pause`."""
        self._claiming = True
        self._spool.listen(self.take)
        self.hold_rules.wake()
        self._wake()

    def use(self, context: DispatchContext, end_reports: EndReports) -> None:
        """
        Attempt with other providers and routes from now on, those of a changed configuration.

        Attempts that have begun end with those that they began with.

        :param context: with the same spool and clock.
        """
        self._removed = {*self._removed, *self._context.providers} - context.providers.keys()
        self._context, self._end_reports = context, end_reports
        self._reroutes.use(context)
        context.lanes.keep(context.providers)
        self.lanes_changed()

    def take(self, claims: Sequence[Claim]) -> None:
        """Attempt ``claims`` at once; without any, ask the spool, for something is waiting there."""
        if not claims:
            self._wake()
        for claim in claims:
            if not self._claiming or claim.delivery.provider in self._removed:
                self._watch("settle", self._give_back(claim))
                continue
            running = Deferred.fromCoroutine(self._attempt(claim))
            self._under_way[running] = claim
            if self._renewal is None and not running.called:
                self._renewal = self._clock.callLater(self._renew_every, self._renew)
            running.addCallbacks(self._ended, self._broken, (running,), errbackArgs=(running, claim))

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed; then ask the spool."""
        self._context.lanes.clock_stepped(seconds)
        self._watch("clock_stepped", self._spool.clock_stepped(seconds))
        self.lanes_changed()

    def lanes_changed(self) -> None:
        """Ask the spool, for a lane was stopped or opened: all that waits may have another way now."""
        self._reroutes.begin_anew()
        self._wake()

    def pause(self) -> None:
        """Claim nothing more; what is under way continues. Claims that still come in are given back."""
        self._claiming = False
        self._spool.listen(None)
        self._sleep_until(None)
        for key, task in list(self._tasks.items()):
            if isinstance(key, tuple):
                task.cancel()

    def stop(self, bound: float) -> Deferred[None]:
        """
        Claim nothing more; fire when the attempts under way have ended, or after ``bound`` seconds.

        What has not ended then is given up, without an outcome: it is resolved when it is claimed again.
        """
        self.pause()
        self._reroutes.stop()
        self.hold_rules.stop()
        stopped = self._stopped = Deferred()
        self._check_stopped()
        return stopped.addTimeout(bound, self._clock, self._give_up).addCallback(self._end_renewal)

    # --- one attempt

    async def _attempt(self, claim: Claim) -> None:
        """Carry out one attempt: prepare, deliver, decide, record."""
        context, end_reports = self._context, self._end_reports
        attempt = prepare(context, claim)
        end = await deliver(context, attempt, lambda: self._watch("release_slot", self._release_slot(claim)))
        try:
            deciding = partial(self._decide, attempt, end)
            decision = await with_sizes(deciding, claim.delivery.envelope, attempt.body)
            if decision.reported or decision.webhook_results:
                decision = await end_reports.added(claim, decision, attempt.body)
        except Exception as exc:  # noqa: BLE001 -- whatever measuring or reading the mail raises
            end = evolve(end, fault=attempt.body.fault, error=exc)
            decision = self._decide(attempt, end, {})
        if self.given_up and decision.error is not None:
            return  # our cancelling is no outcome
        recording = Deferred.fromCoroutine(record(context, attempt, decision))
        if self.given_up:
            recording.cancel()  # begun, but its result is not needed any more
        settlement = decision.settlement
        finished = settlement.state in FINAL and settlement.bounce is None and settlement.event is None
        if finished and (self._backlog or self._asking):
            # What waits for the slot is asked for behind the settlement, so that one commit does both.
            self._wake()
            if self._ask_again and self._asking < _MOST_QUESTIONS:
                self._watch("claim", self._ask())
        if not await recording or not finished:
            # What has begun by a configuration before may wait for a provider that is gone.
            (self._wake if context is self._context else self.lanes_changed)()

    def _decide(self, attempt: PreparedAttempt, end: AttemptEnd, sizes: Mapping[str, int]) -> Decision:
        """Return the decision; ``sizes`` of the requests that were measured, by provider."""
        now, next_provider = self._clock.seconds(), attempt.failover.next_provider
        stopped = partial(self._context.lanes.stopped, now=now)
        case = DecisionInput(
            claim=attempt.claim,
            route=attempt.route,
            now=now,
            chance=self._context.jitter(),
            elsewhere=lambda: next_provider(stopped, sizes),
            roomier=lambda: next_provider(lambda *_: False, sizes),
            block=end.block,
        )
        return decide(case, end)

    def _ended(self, _: object, running: Deferred[None]) -> None:
        del self._under_way[running]
        self._check_stopped()

    def _broken(self, failure: Failure, running: Deferred[None], claim: Claim) -> None:
        """An attempt ended without an outcome: it was given up, or this package has a bug."""
        self._ended(None, running)
        if not self.given_up:
            trace = failure.getTraceback()
            self._events(
                "attempt.crashed", attempt=claim.attempt, exc=trace, **delivery_events.about(claim.delivery)
            )
        self._wake()

    async def _give_back(self, claim: Claim) -> None:
        await self._spool.settle(claim, returned(claim, self._clock.seconds()))
        if self._claiming:
            self.lanes_changed()

    async def _release_slot(self, claim: Claim) -> None:
        """Let others have the slot: the provider has the body, and only its answer is outstanding."""
        await self._spool.release_slot(claim)
        if self._backlog:
            self._wake()

    def _renew(self) -> None:
        """Renew all leases together. With nothing under way there is no timer."""
        self._renewal = None
        if self._under_way:
            self._watch("renew", self._spool.renew(list(self._under_way.values())))
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
                gone, search_again = await self._reroutes.gone()
                self._last_request += 1
                number = self._last_request
                work = await self._spool.claim()
                self._failures = 0
                # What was asked first may be answered last, and knows less.
                if number > self._last_answer:
                    self._last_answer = number
                    if self._context.lanes.suspend(work.suspended):
                        self._reroutes.begin_anew()
                    self._sleep_until(min(filter(None, (work.due, search_again)), default=None))
                    self._backlog = work.waiting
                if work.claims:
                    self.take(work.claims)
                for lane in work.probes:
                    if self._claiming and lane not in self._tasks:
                        self._watch("block", self._probe(*lane), lane)
                for lane in (*work.stopped, *gone):
                    self._watch("reroute", self._reroute(*lane))
        finally:
            self._asking -= 1

    async def _probe(self, provider: str, lane: str) -> None:
        await probe_lane(self._context, provider, lane)
        self.lanes_changed()

    async def _reroute(self, provider: str, lane: str) -> None:
        if await self._reroutes.run(provider, lane):
            self._wake()

    def _sleep_until(self, due: float | None) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        if due is not None and self._claiming:
            wait = max(due - self._clock.seconds(), _SHORTEST_SLEEP)
            self._alarm = self._clock.callLater(wait, self._wake)

    def _watch(
        self, operation: str, work: Coroutine[Deferred[Any], Any, Any], lane: tuple[str, str] | None = None
    ) -> None:
        """Run ``work`` to its end; a failure of the spool is an event, and the spool is asked again later."""
        task = Deferred.fromCoroutine(work)
        self._tasks[lane or task] = task
        task.addErrback(self._spool_failed, operation).addCallback(self._done, lane or task)

    def _spool_failed(self, failure: Failure, operation: str) -> None:
        if failure.check(CancelledError) and not self._claiming:
            return
        reason = f"{failure.type.__name__}: {failure.getErrorMessage()}" if failure.type else "unknown"
        self._events("spool.failed", operation=operation, reason=reason)
        wait = delay(SPOOL_AGAIN, self._failures, self._context.jitter())
        self._failures += 1
        self._sleep_until(self._clock.seconds() + wait)

    def _done(self, _: object, key: Deferred[Any] | tuple[str, str]) -> None:
        del self._tasks[key]
        self._check_stopped()

    # --- stopping

    def _check_stopped(self) -> None:
        """Tell :meth:`stop` when nothing is under way any more."""
        if self._stopped is not None and not (self._under_way or self._tasks):
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)

    def _give_up(self, _failure: Failure | None, _seconds: float) -> None:
        """Let go of what is under way, and do not wait for it: neither for an answer nor for the spool."""
        self.given_up = True
        for each in [*self._under_way, *self._tasks.values()]:
            each.cancel()

    def _end_renewal(self, _: None) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
