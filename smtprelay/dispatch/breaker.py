"""
The breaker of synchronous delivery without a spool: a lane that is stopped costs its provider nothing.

:class:`~smtprelay.dispatch.lanes.Lanes` knows which lanes are stopped, for how long and why. Nothing wakes
it: the first mail after a lane's time has come has it probed, and where only a mail can tell, it is that mail
which tries, alone.
"""

from collections.abc import Collection, Mapping

from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.lanes import Lanes
from smtprelay.dispatch.probe import ask
from smtprelay.dispatch.retry import FIRST_PROBE
from smtprelay.interfaces import Events, Provider
from smtprelay.message import Delivered, Delivery, Outcome


class Breaker:
    """Stops the lanes of ``providers`` that fail for their owner's reasons, or asked us to wait."""

    def __init__(
        self, lanes: Lanes, providers: Mapping[str, Provider], clock: IReactorTime, events: Events
    ) -> None:
        self._lanes = lanes
        self._providers = providers
        self._clock = clock
        self._events = events

    def reason(self, provider: str, lane: str) -> str:
        """Return why nothing may go in a lane; ``""`` if something may, or its time to be probed has come."""
        now = self._clock.seconds()
        stops = self._lanes.of(provider, lane).values()
        return next((stop.reason for stop in stops if stop.holds(now)), "")

    async def admit(self, provider: str, lane: str) -> str:
        """
        Let one mail into a lane, and probe it first if its time has come.

        Returns ``""``, or why the mail may not go. It raises nothing that the provider does to it.
        """
        for key, stop in self._lanes.of(provider, lane).items():
            waits = stop.holds(self._clock.seconds())
            refused = stop.reason if waits else await self._try(provider, key)
            if refused:
                return refused
        return ""

    def learn(self, delivery: Delivery, outcomes: Collection[Outcome]) -> None:
        """Stop a lane, or open it, by what came of an attempt."""
        self._lanes.learn(delivery, outcomes, self._clock.seconds())

    def stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the clock was put."""
        self._lanes.stepped(seconds)

    async def _try(self, provider: str, lane: str) -> str:
        if self._lanes.end_pause(provider, lane):
            return ""
        self._lanes.begin_try(provider, lane, self._clock.seconds() + FIRST_PROBE)
        found = await ask(self._providers[provider], provider, lane, self._events)
        if found is None:
            return ""
        if isinstance(found, Delivered):
            self._lanes.opened(provider, lane)
            return ""
        return self._lanes.block(provider, lane, found.why, self._clock.seconds(), probed=True).reason
