"""
What this process knows of the lanes that are stopped.

The spool holds a stopped lane back; here is what it does not keep: how often in a row the
lane was found blocked (the probes become rarer), and whether it is blocked at all or only paused
because its provider asked us to wait. After a restart nothing is known, and a lane that was paused is probed
as if it had been blocked.
"""

from collections.abc import Collection
from typing import Final

from attrs import evolve, frozen

from smtprelay.dispatch.retry import honoured, probe_delay
from smtprelay.interfaces import Events
from smtprelay.model.attempt import Block
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome
from smtprelay.model.queue import ASKED_TO_WAIT

#: After a warning that a lane is throttled the next one comes so many seconds later at the earliest.
_SILENT: Final = 60.0


@frozen
class _Stop:
    """
    A lane that does not run.

    :ivar until: seconds since the epoch; what happens in the lane later tells whether it works again.
    :ivar times: how often in a row it was found blocked; 0 for a pause.
    """

    until: float
    times: int


class LaneStates:
    """The stopped lanes, by (provider, key). Says ``lane.blocked`` and ``lane.unblocked`` once each time."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._stops: dict[tuple[str, str], _Stop] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._suspended: frozenset[tuple[str, str]] = frozenset()

    def suspend(self, suspended: Collection[tuple[str, str]]) -> bool:
        """Note which lanes are suspended by an operator now, and that no other is; tell if that is new."""
        if not suspended and not self._suspended:
            return False
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
        throttled: Deferred | None = None
        asked: Deferred | None = None
        for outcome in outcomes:
            if isinstance(outcome, Blocked):
                return self.block(delivery.provider, outcome.lane, outcome.why, now)
            if isinstance(outcome, Deferred):
                if outcome.throttled:
                    throttled = throttled or outcome
                if (outcome.retry_after or 0.0) > (asked.retry_after or 0.0 if asked else 0.0):
                    asked = outcome
        if throttled is not None:
            self._tell_throttled(delivery, throttled.why, now)
        if asked is not None:
            return self._pause(delivery, asked, now)
        if self._stops and any(isinstance(each, Delivered | Failed) for each in outcomes):
            self._works(delivery, now)
        return None

    def block(self, provider: str, lane: str, why: str, now: float, *, probed: bool = False) -> Block:
        """
        Stop a lane, or keep it stopped.

        :param probed: a probe found it so. Without it, what was under way when the lane was stopped
            already does not stop it for longer.
        """
        why = why or "no reason was given"  # an empty one would open the lane
        stop = self._stops.get((provider, lane))
        if stop is None or stop.times == 0:
            stop = _Stop(now + probe_delay(1), 1)
            self._events("lane.blocked", provider=provider, lane=lane, reason=why, until=stop.until)
        elif probed or now >= stop.until:
            stop = _Stop(now + probe_delay(stop.times + 1), stop.times + 1)
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
        if self._suspended and not self._suspended.isdisjoint({(provider, lane), (provider, "")}):
            return True
        if not self._stops:
            return False
        stops = (self._stops.get((provider, key)) for key in {lane, ""})
        return any(stop is not None and now < stop.until for stop in stops)

    def is_blocked(self, provider: str, lane: str) -> bool:
        """Tell whether a lane is known to be blocked, and not only paused or open."""
        stop = self._stops.get((provider, lane))
        return (provider, lane) in self._suspended or (stop is not None and stop.times > 0)

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the clock was put."""
        self._stops = {key: evolve(stop, until=stop.until + seconds) for key, stop in self._stops.items()}
        self._told = {key: until + seconds for key, until in self._told.items()}

    def _tell_throttled(self, delivery: Delivery, reason: str, now: float) -> None:
        """Warn of it, but not for each mail that is refused."""
        key = (delivery.provider, delivery.lane)
        if now >= self._told.get(key, now):
            self._told[key] = now + _SILENT
            self._events("lane.throttled", provider=key[0], lane=key[1], reason=reason)

    def _pause(self, delivery: Delivery, asked: Deferred, now: float) -> Block | None:
        self._works(delivery, now)
        key = (delivery.provider, delivery.lane)
        stop = self._stops.get(key, _Stop(now, 0))
        if stop.times:
            return None  # blocked meanwhile: the probe tells
        until = max(stop.until, now + honoured(asked.retry_after or 0.0))
        self._stops[key] = _Stop(until, 0)
        reason = f"{ASKED_TO_WAIT}: {asked.why}"
        return Block(provider=delivery.provider, lane=delivery.lane, until=until, reason=reason)

    def _works(self, delivery: Delivery, now: float) -> None:
        """
        Forget the stops of a lane in which a mail got an answer.

        Not those that still last: what was under way when a lane was stopped proves nothing.
        """
        for key in {delivery.lane, ""}:
            stop = self._stops.get((delivery.provider, key))
            if stop is not None and now >= stop.until:
                del self._stops[delivery.provider, key]
                if stop.times:
                    self._events("lane.unblocked", provider=delivery.provider, lane=key)
