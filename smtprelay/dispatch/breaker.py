"""
The breaker of synchronous delivery: a lane that is stopped costs its provider nothing.

:class:`~smtprelay.dispatch.lanes.Lanes` knows which lanes are stopped, for how long, and says so to the log;
here is why, for the client who asks. Nothing wakes it: the first mail after a lane's time has come has it
probed, and where only a mail can tell, it is that mail which tries, alone.
"""

from collections.abc import Collection, Mapping

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.lanes import Lanes
from smtprelay.dispatch.probe import ask
from smtprelay.dispatch.retry import FIRST_PROBE
from smtprelay.interfaces import Events, Provider
from smtprelay.message import Deferred, Delivered, Delivery, Failed, Outcome
from smtprelay.queue import Block


class Breaker:
    """Stops the lanes of ``providers`` that fail for their owner's reasons, or asked us to wait."""

    def __init__(
        self, lanes: Lanes, providers: Mapping[str, Provider], clock: IReactorTime, events: Events
    ) -> None:
        self._lanes = lanes
        self._providers = providers
        self._clock = clock
        self._events = events
        self._stops: dict[tuple[str, str], Block] = {}

    def reason(self, provider: str, lane: str) -> str:
        """Return why nothing may go in a lane; ``""`` if something may, or its time to be probed has come."""
        now = self._clock.seconds()
        return next((stop.reason for stop in self._of(provider, lane) if now < stop.until), "")

    def stopped(self, provider: str, lane: str) -> bool:
        """Tell whether a lane has a :meth:`reason`."""
        return bool(self.reason(provider, lane))

    async def admit(self, provider: str, lane: str) -> str:
        """
        Let one mail into a lane, and probe it first if its time has come.

        Returns ``""``, or why the mail may not go. It raises nothing that the provider does to it.
        """
        for stop in self._of(provider, lane):
            waits = self._clock.seconds() < stop.until
            refused = stop.reason if waits else await self._try(stop)
            if refused:
                return refused
        return ""

    def learn(self, delivery: Delivery, outcomes: Collection[Outcome]) -> None:
        """Stop a lane, or open it, by what came of an attempt."""
        now = self._clock.seconds()
        stop = self._lanes.learn(delivery, outcomes, now)
        if any(map(_is_answer, outcomes)):
            for each in self._of(delivery.provider, delivery.lane):
                if not self._lanes.stopped(each.provider, each.lane, now):
                    del self._stops[each.provider, each.lane]
        if stop is not None:
            self._stops[stop.provider, stop.lane] = stop

    def stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the clock was put."""
        self._lanes.stepped(seconds)
        self._stops = {key: evolve(stop, until=stop.until + seconds) for key, stop in self._stops.items()}

    def _of(self, provider: str, lane: str) -> list[Block]:
        """Return the stops that concern a lane: its own, and that of its whole provider."""
        if not self._stops:
            return []
        found = (self._stops.get((provider, key)) for key in dict.fromkeys(("", lane)))
        return [stop for stop in found if stop is not None]

    async def _try(self, stop: Block) -> str:
        key = (stop.provider, stop.lane)
        if self._lanes.end_pause(*key):
            del self._stops[key]
            return ""
        # The others wait for what comes of it.
        self._stops[key] = evolve(stop, until=self._clock.seconds() + FIRST_PROBE)
        found = await ask(self._providers[stop.provider], *key, self._events)
        if found is None:
            return ""
        if isinstance(found, Delivered):
            self._stops.pop(key, None)
            self._lanes.opened(*key)
            return ""
        longer = self._lanes.block(*key, found.why, self._clock.seconds(), probed=True)
        self._stops[key] = longer
        return longer.reason


def _is_answer(outcome: Outcome) -> bool:
    """Tell whether an outcome proves that its lane works."""
    return isinstance(outcome, Delivered | Failed) or (
        isinstance(outcome, Deferred) and bool(outcome.retry_after)
    )
