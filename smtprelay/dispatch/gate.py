"""
Who may ask a provider now, where no spool counts: slots and the pace, in memory.

Deliveries of synchronous listeners keep to the rules of the spool (:mod:`smtprelay.pace`), but their clients
wait meanwhile: first come, first served, and nobody waits longer than the patience he has. What is counted
here is forgotten at a restart, and is not added to what the dispatcher sends by the same provider.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtprelay.message import Pace
from smtprelay.pace import allowance, nothing_spent, spend

#: A timer may ring a moment before the pace agrees; it is not set faster than this, seconds.
_SHORTEST_WAIT: Final = 0.05


class Patience:
    """
    How long something may still be begun for a client who waits.

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
        """Let nothing more be begun."""
        self._until = self._clock.seconds()


class Slot:
    """
    The right to one request.

    :ivar released: it was given back.
    """

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = give_back
        self.released = False

    def release(self) -> None:
        """Give it back, once: the provider has the body, or its answer has come."""
        if not self.released:
            self.released = True
            self._give_back()


class Gate:
    """
    The slots and the tokens of all providers.

    :param paces: by the name of the provider.
    """

    def __init__(self, paces: Mapping[str, Pace], clock: IReactorTime) -> None:
        self._turnstiles = {name: _Turnstile(pace, clock) for name, pace in paces.items()}

    async def enter(self, provider: str, lane: str, seconds: float) -> Slot | None:
        """
        Return a slot of ``lane``, with a token spent of each window, as soon as there is one.

        ``None``: there is none within ``seconds``; said at once where the pace makes that certain.
        """
        return await self._turnstiles[provider].enter(lane, seconds)


class _Turnstile:
    """One provider's."""

    def __init__(self, pace: Pace, clock: IReactorTime) -> None:
        self._pace = pace
        self._clock = clock
        self._spent = nothing_spent(pace.windows)
        self._used = 0
        self._used_by: Counter[str] = Counter()
        self._waiting: dict[Deferred[Slot], str] = {}
        self._alarm: IDelayedCall | None = None

    async def enter(self, lane: str, seconds: float) -> Slot | None:
        waiting: Deferred[Slot] = Deferred(self._leave)
        self._waiting[waiting] = lane
        self._admit()
        if waiting.called:
            return await waiting
        if self._closed_for() > seconds:
            self._leave(waiting)
            return None
        try:
            return await waiting.addTimeout(seconds, self._clock)
        except defer.TimeoutError:
            return None

    def _admit(self) -> None:
        """Let in who may, in the order in which they came."""
        now, windows = self._clock.seconds(), self._pace.windows
        admitted = []
        for waiting, lane in list(self._waiting.items()):
            if self._used >= self._pace.concurrency or self._closed_for():
                break
            if self._has_room(lane):
                self._used += 1
                self._used_by[lane] += 1
                self._spent = spend(windows, self._spent, now, 1)
                del self._waiting[waiting]
                admitted.append((waiting, lane))
        self._set_alarm()
        for waiting, lane in admitted:
            waiting.callback(Slot(partial(self._free, lane)))

    def _has_room(self, lane: str) -> bool:
        bound = self._pace.per_lane
        return lane == "" or bound is None or self._used_by[lane] < bound

    def _closed_for(self) -> float:
        """Return after how many seconds the pace lets one more go; 0 is now."""
        now = self._clock.seconds()
        allowed, when = allowance(self._pace.windows, self._spent, now)
        return max(when - now, _SHORTEST_WAIT) if allowed == 0 else 0.0

    def _free(self, lane: str) -> None:
        self._used -= 1
        self._used_by[lane] -= 1
        if not self._used_by[lane]:
            del self._used_by[lane]
        if self._waiting:
            self._admit()

    def _leave(self, waiting: "Deferred[Slot]") -> None:
        self._waiting.pop(waiting, None)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Look again when the pace allows it, if somebody waits for that; a free slot tells by itself."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        wait = self._closed_for() if self._waiting else 0.0
        if wait:
            self._alarm = self._clock.callLater(wait, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._admit()
