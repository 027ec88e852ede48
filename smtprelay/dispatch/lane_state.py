"""
The stopped lanes that this process knows.

The spool claims nothing in a stopped lane. It does not keep how often in a row the lane was found blocked
(the probes become rarer), nor whether it is only paused because its provider asked us to wait: that is here,
until a restart. Then a lane that was paused is probed as if it had been blocked.
"""

from collections.abc import Collection, Container
from typing import Final

from attrs import define, evolve, field, frozen

from smtprelay.dispatch.deferrals import Deferrals
from smtprelay.dispatch.retry import honoured, probe_delay
from smtprelay.interfaces import Events
from smtprelay.model.attempt import Block
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled
from smtprelay.model.queue import ASKED_TO_WAIT

#: Stops that are kept, unless more lanes stand still at once: senders give lanes their names.
_MOST: Final = 10_000

#: The least time between two warnings that a lane is throttled, seconds.
_SILENT: Final = 60.0


@frozen
class _Stop:
    """
    A lane that does not run.

    :ivar until: seconds since the epoch; what is sent later tells whether the lane works again.
    :ivar times: how often in a row it was found blocked; 0 for a pause.
    """

    until: float
    times: int


@define(eq=False)
class LaneStates:
    """
    The stopped lanes, by (provider, key). Reports ``lane.blocked`` and ``lane.unblocked`` once each time.

    :ivar deferrals: which providers take no mail; it learns from the same outcomes.
    """

    _events: Events
    deferrals: Deferrals = field(factory=Deferrals, init=False)
    _stops: dict[tuple[str, str], _Stop] = field(factory=dict, init=False)
    _reported: dict[tuple[str, str], float] = field(factory=dict, init=False)
    _suspended: frozenset[tuple[str, str]] = field(factory=frozenset, init=False)

    def suspend(self, suspended: Collection[tuple[str, str]]) -> bool:
        """Note which lanes an operator has suspended, and that no other is; return whether that is new."""
        before, self._suspended = self._suspended, frozenset(suspended)
        for provider, lane in sorted(before - self._suspended):
            self._events("lane.unblocked", provider=provider, lane=lane)
        return before != self._suspended

    def is_suspended(self, provider: str) -> bool:
        """Tell whether an operator has suspended a provider."""
        return (provider, "") in self._suspended

    def learn(self, delivery: Delivery, outcomes: Collection[Outcome], now: float) -> Block | None:
        """
        Return the lane that ``outcomes`` of an attempt stop, or ``None``.

        One that is only throttled does not stop: the spool slows it down.
        """
        self.deferrals.learn(delivery.provider, outcomes, now)
        for outcome in outcomes:
            if isinstance(outcome, Blocked):
                return self.block(delivery.provider, outcome.lane, outcome.why, now)
            if isinstance(outcome, Throttled):
                self._tell_throttled(delivery.provider, outcome, now)
        waits = [each for each in outcomes if isinstance(each, Deferred | Throttled) and each.retry_after]
        if waits:
            return self._pause(delivery, max(waits, key=lambda each: each.retry_after or 0.0), now)
        if self._stops and any(isinstance(each, Delivered | Failed) for each in outcomes):
            self._works(delivery, now)
        return None

    def block(self, provider: str, lane: str, why: str, now: float, *, probed: bool = False) -> Block:
        """
        Stop a lane, or keep it stopped.

        :param probed: a probe found it blocked. What was under way when it was stopped, and finds the same,
            does not stop it for longer.
        """
        why = why or "no reason was given"  # an empty one would open the lane
        stop = self._stops.get((provider, lane))
        if stop is None or stop.times == 0:
            stop = _Stop(now + probe_delay(1), 1)
            self._events("lane.blocked", provider=provider, lane=lane, reason=why, until=stop.until)
        elif probed or now >= stop.until:
            stop = _Stop(now + probe_delay(stop.times + 1), stop.times + 1)
        if len(self._stops) > _MOST:
            self._stops = {place: each for place, each in self._stops.items() if now < each.until}
        self._stops[provider, lane] = stop
        return Block(provider=provider, lane=lane, until=stop.until, reason=why)

    def try_one(self, provider: str, lane: str, now: float) -> Block:
        """Let one mail through a blocked lane; what becomes of it tells :meth:`learn` whether it works."""
        self._stops.setdefault((provider, lane), _Stop(now, 1))
        return Block(provider=provider, lane=lane, trial=True)

    def opened(self, provider: str, lane: str) -> None:
        """Note that a blocked lane works again."""
        self._stops.pop((provider, lane), None)
        self._events("lane.unblocked", provider=provider, lane=lane)

    def end_pause(self, provider: str, lane: str) -> bool:
        """Forget a pause whose time is over. ``False``: this lane was not paused by us."""
        stop = self._stops.get((provider, lane))
        if stop is None or stop.times:
            return False
        del self._stops[provider, lane]
        return True

    def stopped(self, provider: str, lane: str, now: float) -> bool:
        """Tell whether a lane, or its whole provider, is stopped as far as we know."""
        places = {(provider, lane), (provider, "")}
        stops = (self._stops.get(place) for place in places)
        stopped = any(stop is not None and now < stop.until for stop in stops)
        return stopped or not self._suspended.isdisjoint(places)

    def is_blocked(self, provider: str, lane: str) -> bool:
        """Tell whether a lane is known to be blocked, and not only paused or open."""
        stop = self._stops.get((provider, lane))
        return (provider, lane) in self._suspended or (stop is not None and stop.times > 0)

    def keep(self, providers: Container[str]) -> None:
        """Forget the lanes of all other providers: they were removed."""
        self._stops = {place: stop for place, stop in self._stops.items() if place[0] in providers}
        self._reported = {place: until for place, until in self._reported.items() if place[0] in providers}
        self.deferrals.keep(providers)

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed."""
        self._stops = {key: evolve(stop, until=stop.until + seconds) for key, stop in self._stops.items()}
        self._reported = {key: until + seconds for key, until in self._reported.items()}
        self.deferrals.clock_stepped(seconds)

    def _tell_throttled(self, provider: str, throttled: Throttled, now: float) -> None:
        """Warn, but not for each mail that is refused."""
        key = (provider, throttled.lane)
        if now >= self._reported.get(key, now):
            self._reported[key] = now + _SILENT
            self._events("lane.throttled", provider=provider, lane=throttled.lane, reason=throttled.why)

    def _pause(self, delivery: Delivery, longest: Deferred | Throttled, now: float) -> Block | None:
        self._works(delivery, now)
        provider, lane = key = (
            delivery.provider,
            longest.lane if isinstance(longest, Throttled) else delivery.lane,
        )
        stop = self._stops.get(key, _Stop(now, 0))
        if stop.times:
            return None  # blocked meanwhile: the probe tells
        until = max(stop.until, now + honoured(longest.retry_after or 0.0))
        self._stops[key] = _Stop(until, 0)
        return Block(provider=provider, lane=lane, until=until, reason=f"{ASKED_TO_WAIT}: {longest.why}")

    def _works(self, delivery: Delivery, now: float) -> None:
        """Forget the stops of a lane that answered; not those that last, as before them it was under way."""
        for key in {delivery.lane, ""}:
            stop = self._stops.get((delivery.provider, key))
            if stop is not None and now >= stop.until:
                del self._stops[delivery.provider, key]
                if stop.times:
                    self._events("lane.unblocked", provider=delivery.provider, lane=key)
