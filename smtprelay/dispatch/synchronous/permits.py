"""
Asks the spool for permits of synchronous deliveries, which use the same lanes as the queue.

Synchronous deliveries go first: a client is waiting. They ask the spool whenever a slot becomes free, before
the dispatcher does. Of the deliveries that wait for one lane only the first asks. A lane that an answer
blocks is blocked for the queue, too; the dispatcher probes it. A relay without a spool has one in memory for
this, which never stores mail.
"""

from collections.abc import Collection
from typing import Final

from attrs import define, field, frozen
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.synchronous.reply import ProvidersBusy
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Permits
from smtprelay.model.attempt import Busy, Feedback, Permit
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Outcome
from smtprelay.model.rate_limit import Load

#: Seconds between two requests to the spool: this node does not notice when another node releases a use.
_LONGEST_WAIT: Final = 1.0

#: A timer may ring a moment before the spool agrees; it is not set faster than this, seconds.
_SHORTEST_WAIT: Final = 0.05


class TimeLimit:
    """
    The time in which a request may begin for a client that waits.

    :param seconds: from now.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._until = clock.seconds() + seconds

    @property
    def left(self) -> float:
        """Seconds; 0 when it is over."""
        return max(0.0, self._until - self._clock.seconds())

    def end(self) -> None:
        """Allow no more requests."""
        self._until = self._clock.seconds()


@define(eq=False)
class PermitUse:
    """
    The right to one request, and how far it was used.

    :ivar released: it was given back: the provider has the body, or its answer has come.
    :ivar ended: so were outcomes, or that there are none.
    """

    permit: Permit
    delivery: Delivery
    released: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)


@frozen
class NoPermit:
    """
    No permit was given: nothing was sent.

    :ivar outcome: what the client reads if no other provider accepts the mail.
    :ivar final: no time is left for another provider.
    """

    outcome: Outcome
    final: bool = False


class SynchronousPermits:
    """
    Takes permits from the spool.

    :param lanes: those of the dispatcher.
    """

    def __init__(self, permits: Permits, lanes: LaneStates, clock: IReactorTime, events: Events) -> None:
        self._permits = permits
        self._lanes = lanes
        self._clock = clock
        self._events = events
        self._lines: dict[tuple[str, str], DeferredLock] = {}
        self._left: list[tuple[str, str]] = []  # those whose first is done, and the next does not know yet

    def stopped(self, provider: str, lane: str) -> bool:
        """Tell whether nothing may go in a lane, as far as is known without the spool."""
        return self._lanes.stopped(provider, lane, self._clock.seconds())

    async def enter(self, delivery: Delivery, attempt: int, patience: TimeLimit) -> PermitUse | NoPermit:
        """
        Return a permit for the delivery's lane, as soon as there is one.

        If that takes longer than ``patience`` there is none; it ends at once if the rate makes that certain.
        """
        place = (delivery.provider, delivery.lane)
        name = f"{delivery.id}/{attempt}"
        if place not in self._lines:
            answer = await self._ask(name, delivery)
            if self._is_answer(answer, patience):
                return self._result(answer, delivery, patience)
        line = self._lines.setdefault(place, DeferredLock())
        try:
            await line.acquire().addTimeout(patience.left, self._clock)
        except defer.TimeoutError:
            return _busy(delivery.provider)
        try:
            return self._result(await self._first(name, delivery, patience), delivery, patience)
        finally:
            self._leave(place)

    def _leave(self, place: tuple[str, str]) -> None:
        """
        Let the next in line ask.

        In memory the spool answers at once: if each let the next one in by itself, a long line would be as
        many calls within each other.
        """
        self._left.append(place)
        if len(self._left) > 1:
            return
        while self._left:
            line = self._lines[self._left[0]]
            line.release()
            place = self._left.pop(0)
            if not line.locked:
                del self._lines[place]

    async def _first(self, name: str, delivery: Delivery, patience: TimeLimit) -> Permit | Busy:
        """Ask again and again, as the first in line."""
        while True:
            answer = await self._ask(name, delivery)
            if isinstance(answer, Permit) or self._is_answer(answer, patience):
                return answer
            wait = _LONGEST_WAIT if answer.until is None else answer.until - self._clock.seconds()
            room = Deferred.fromCoroutine(self._permits.room())
            seconds = min(max(wait, _SHORTEST_WAIT), patience.left)
            await room.addTimeout(seconds, self._clock, lambda *_: None)

    async def _ask(self, name: str, delivery: Delivery) -> Permit | Busy:
        load = Load(recipients=len(delivery.envelope.recipients), bytes=delivery.size)
        return await self._permits.acquire(name, delivery.provider, delivery.lane, load)

    def _is_answer(self, answer: Permit | Busy, patience: TimeLimit) -> bool:
        """Tell whether there is a slot, or will be none as long as ``patience`` lasts."""
        if isinstance(answer, Permit) or answer.reason or not patience.left:
            return True
        return answer.until is not None and answer.until - self._clock.seconds() > patience.left

    def _result(self, answer: Permit | Busy, delivery: Delivery, patience: TimeLimit) -> PermitUse | NoPermit:
        if isinstance(answer, Busy):
            return NoPermit(Blocked(answer.reason)) if answer.reason else _busy(delivery.provider)
        use = PermitUse(answer, delivery)
        if patience.left:
            return use
        self.end(use)
        late = f"{delivery.provider} could not be asked in time, try again later"
        return NoPermit(ProvidersBusy(late), final=True)

    # --- what came of it

    def release(self, use: PermitUse) -> None:
        """Give the permit back, once: the provider has the body, and its answer comes later."""
        if not use.released:
            use.released = True
            self._give_back(use.permit, None)

    def learn(self, use: PermitUse, outcomes: Collection[Outcome]) -> None:
        """Give the permit back with the outcomes; more may follow when the provider is asked later."""
        block = self._lanes.learn(use.delivery, outcomes, self._clock.seconds())
        if not use.ended or block is not None:
            use.ended = use.released = True
            self._give_back(use.permit, Feedback(outcomes=tuple(outcomes), block=block))

    def end(self, use: PermitUse) -> None:
        """Give the permit back unless that was done: no outcome follows."""
        if not use.ended:
            self.learn(use, ())

    def _give_back(self, permit: Permit, feedback: Feedback | None) -> None:
        """Tell the spool, without waiting for it."""
        Deferred.fromCoroutine(self._permits.give_back(permit, feedback)).addErrback(self._not_given_back)

    def _not_given_back(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._events("spool.failed", operation="give_back", reason=failure.getErrorMessage())


def _busy(provider: str) -> NoPermit:
    return NoPermit(ProvidersBusy(f"{provider} takes no more at this time, try again later"))
