"""
One delivery while its client waits: at the providers of its route, one after the other.

It respects blocks and rates (``permits``), and leaves no trace but events. No request begins after the
client's deadline; a request that has begun is finished.

A request that is refused for some of its recipients goes again in parts. Each part is an operation of its
own, by a generation below zero: what a spool may make of the rest later counts from one.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import Final

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from smtprelay.dispatch import decision
from smtprelay.dispatch import events as delivery_events
from smtprelay.dispatch.failover import Failover
from smtprelay.dispatch.retry import FIRST_RESOLVE, delay
from smtprelay.dispatch.synchronous.permits import NoPermit, PermitUse, SynchronousPermits, TimeLimit
from smtprelay.dispatch.synchronous.reply import ProvidersBusy
from smtprelay.interfaces import Attempt, Body, Events, Provider
from smtprelay.interfaces.fit import with_sizes
from smtprelay.model.attempt import Claim
from smtprelay.model.message import Delivery, Recipient
from smtprelay.model.outcome import (
    TOO_LARGE,
    Blocked,
    Deferred,
    Failed,
    Outcome,
    Results,
    Throttled,
    Uncertain,
)
from smtprelay.model.route import Route, Schedule

#: How a provider is asked what became of a request whose answer was lost.
_RESOLVE: Final = Schedule(first=FIRST_RESOLVE, jitter=0.0)

#: Only classifies: no retry, expiry or bounce.
_ONCE: Final = Route(name="", via=(), retry=Schedule(first=0.0, jitter=0.0), expire=None, on_failed="discard")

_MIDDLE: Final = 0.5


@frozen(kw_only=True)
class SynchronousDelivery:
    """
    Delivers one delivery while its client waits.

    :ivar routes: by name.
    """

    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]
    permits: SynchronousPermits
    clock: IReactorTime
    events: Events

    async def deliver(self, delivery: Delivery, body: Body, patience: TimeLimit) -> tuple[Results, Delivery]:
        """
        Return what became of each recipient, and the delivery as it was when it was tried last.

        Those that a provider defers or blocks, or for whom it finds the mail too large, go to the next one of
        the route's ``via``, unless it took the body. :class:`.reply.ProvidersBusy`: there was no slot, or no
        time was left.
        """
        outcomes: dict[str, Outcome] = {}
        waiting, generations = deque([delivery]), count(-1, -1)
        last, attempt, parted = delivery, 0, False
        while waiting and (patience.left or not attempt):
            last, attempt = waiting.popleft(), attempt + 1
            results, final = await self._at(last, attempt, body, patience)
            outcomes.update(results)
            parts = _parts(last, results, generations)
            parted = parted or bool(parts)
            waiting.extendleft(reversed(parts))
            onward = None if final else await self._elsewhere(last, results, body)
            if onward is not None:
                waiting.append(onward)
        for each in waiting:
            outcomes.update({address: _untried(outcomes[address]) for address in each.envelope.addresses})
        if parted:
            outcomes = {address: _without_parts(outcome) for address, outcome in outcomes.items()}
        return outcomes, last

    async def _elsewhere(self, delivery: Delivery, results: Results, body: Body) -> Delivery | None:
        """Return the delivery of those whom another provider may still take, at that provider."""
        recipients = delivery.envelope.recipients
        rest = tuple(each for each in recipients if _may_go_on(results.get(each.address)))
        if not rest:
            return None
        narrowed = _narrowed(delivery, rest)
        failover = Failover(narrowed, self.routes[delivery.route].via, self.providers)
        ask = partial(failover.next_provider, self.permits.stopped)
        place = await with_sizes(ask, narrowed.envelope, body)
        if place is None or place.wraps:
            return None
        return evolve(narrowed, provider=place.provider, lane=place.lane)

    async def _at(
        self, delivery: Delivery, attempt: int, body: Body, patience: TimeLimit
    ) -> tuple[Results, bool]:
        """Return the outcomes at one provider, and whether no other one may be asked."""
        use = await self._enter(delivery, attempt, patience)
        if isinstance(use, NoPermit):
            return _all(delivery, use.outcome), use.final
        try:
            return await self._attempt(delivery, attempt, body, use, patience)
        finally:
            self.permits.end(use)

    async def _enter(self, delivery: Delivery, attempt: int, patience: TimeLimit) -> PermitUse | NoPermit:
        """If the spool fails no request is permitted: its counts would be wrong."""
        try:
            return await self.permits.enter(delivery, attempt, patience)
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- whatever it is, the client must have an answer
            self.events("spool.failed", operation="acquire", reason=f"{type(exc).__name__}: {exc}")
            return NoPermit(ProvidersBusy("local error in processing, try again later"), final=True)

    async def _attempt(
        self, delivery: Delivery, attempt: int, body: Body, use: PermitUse, patience: TimeLimit
    ) -> tuple[Results, bool]:
        claim = Claim(delivery=delivery, node="", attempt=attempt)
        begun = self.clock.seconds()
        self.events("attempt.started", attempt=attempt, **delivery_events.about(delivery))
        try:
            given = Attempt(delivery, body, partial(self.permits.release, use), delivery.credential)
            results = await self.providers[delivery.provider].deliver(given)
            released = use.released
            self.permits.learn(use, results.values())
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- whatever it is, the client must have an answer
            released, results = True, _all(delivery, Uncertain(f"unexpected error: {type(exc).__name__}"))
            delivery_events.crashed(self.events, claim, exc)
        results = await self._resolved(claim, results, use, patience)
        decided = self._decide(claim, results)
        now = self.clock.seconds()
        delivery_events.tell(self.events, claim, decided, now, now - begun)
        outcomes = decided.settlement.outcomes
        return outcomes, released or _uncertain(delivery, outcomes) != ()

    async def _resolved(self, claim: Claim, results: Results, use: PermitUse, patience: TimeLimit) -> Results:
        """Find out what became of the recipients whose answer was lost, where the provider can tell."""
        delivery = claim.delivery
        requests = 0
        while self.providers[delivery.provider].idempotent and (lost := _uncertain(delivery, results)):
            wait = delay(_RESOLVE, requests, _MIDDLE)
            if wait > patience.left:
                break
            await deferLater(self.clock, wait)
            known = await self._ask(evolve(claim, delivery=_narrowed(delivery, lost)))
            if known is None:
                break
            self.permits.learn(use, known.values())
            results = {**results, **known}
            requests += 1
        return results

    async def _ask(self, claim: Claim) -> Results | None:
        try:
            return await self.providers[claim.delivery.provider].resolve(claim.delivery)
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- what is known of the other recipients must not be lost
            delivery_events.crashed(self.events, claim, exc)
            return None

    def _decide(self, claim: Claim, results: Results) -> decision.Decision:
        case = decision.DecisionInput(
            claim=claim, route=_ONCE, now=self.clock.seconds(), chance=_MIDDLE, elsewhere=lambda: None
        )
        return decision.delivered(claim.delivery, results) or decision.settle(case, results)


def _all(delivery: Delivery, outcome: Outcome) -> Results:
    return dict.fromkeys(delivery.envelope.addresses, outcome)


def _narrowed(delivery: Delivery, recipients: tuple[Recipient, ...]) -> Delivery:
    return evolve(delivery, envelope=delivery.envelope.narrowed(recipients))


def _parts(delivery: Delivery, results: Results, generations: Iterator[int]) -> list[Delivery]:
    """
    Return the recipients to try again at once: the request was refused for others, or without naming one.
    """
    recipients = delivery.envelope.recipients
    given = [(each, results.get(each.address)) for each in recipients]
    spared = tuple(each for each, outcome in given if isinstance(outcome, Deferred) and outcome.again)
    whole = tuple(each for each, outcome in given if isinstance(outcome, Failed) and outcome.whole)
    half = len(whole) // 2
    parts = [spared, whole[:half], whole[half:]] if half else [spared]
    return [evolve(_narrowed(delivery, part), generation=next(generations)) for part in parts if part]


def _untried(outcome: Outcome) -> Outcome:
    """Return the outcome of a recipient that was not tried in time: others' failure is not final for it."""
    return Deferred(f"not tried in time after: {outcome.why}") if isinstance(outcome, Failed) else outcome


def _without_parts(outcome: Outcome) -> Outcome:
    """
    Return an outcome for those who try again later and know nothing of the parts that the mail went in.

    The operation that they know is over. A lost answer of a part cannot be asked for: it is sent again.
    """
    if isinstance(outcome, Uncertain):
        return Deferred(outcome.why, closed=True)
    if isinstance(outcome, Deferred):
        return evolve(outcome, closed=True, again=False)
    return evolve(outcome, closed=True) if isinstance(outcome, Throttled | Blocked) else outcome


def _may_go_on(outcome: Outcome | None) -> bool:
    """Tell whether another provider may still take the mail for this recipient."""
    if isinstance(outcome, Deferred):
        return not outcome.again
    if isinstance(outcome, Failed):
        return outcome.code == TOO_LARGE
    return isinstance(outcome, Throttled | Blocked)


def _uncertain(delivery: Delivery, results: Results) -> tuple[Recipient, ...]:
    return tuple(
        each for each in delivery.envelope.recipients if isinstance(results.get(each.address), Uncertain)
    )
