"""
Trying whether a stopped lane works again.

A blocked lane costs its provider one question at growing intervals, not one for each mail that waits.
"""

from collections.abc import Mapping

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.attempt import Block
from smtprelay.model.outcome import Blocked, Delivered, Outcome


async def ask(provider: Provider, name: str, lane: str, events: Events) -> Outcome | None:
    """Probe a lane. A probe that breaks proves nothing good: the lane is blocked."""
    try:
        return await provider.probe(lane)
    except CancelledError:
        raise
    except Exception as exc:  # noqa: BLE001 -- whatever a provider's code raises
        said = f"{type(exc).__name__}: {exc}"
        events("relay.warning", text=f"{name} {lane}".rstrip() + f": probe: unexpected error: {said}")
        return Blocked(said)


@define(eq=False)
class Probes:
    """The probes of all lanes, one at a time for each."""

    _spool: WorkQueue
    _providers: Mapping[str, Provider]
    _lanes: LaneStates
    _clock: IReactorTime
    _events: Events
    _under_way: dict[tuple[str, str], Deferred[None] | None] = field(factory=dict, init=False)

    def start(self, provider: str, lane: str) -> Deferred[None] | None:
        """
        Probe one lane whose time has come: open it, let one mail try it, or stop it for longer.

        Returns a Deferred that fires when the spool has the result, and fails only as the spool fails;
        ``None`` if this lane is being probed already.
        """
        key = (provider, lane)
        if key in self._under_way:
            return None
        self._under_way[key] = None
        probe = Deferred.fromCoroutine(self._run(provider, lane))
        if not probe.called:
            self._under_way[key] = probe
        return probe

    def stop(self) -> None:
        """Give up what is under way; the lanes stay as they are."""
        for probe in list(self._under_way.values()):
            if probe is not None:
                probe.cancel()

    async def _run(self, provider: str, lane: str) -> None:
        try:
            if self._lanes.end_pause(provider, lane):
                await self._spool.block(Block(provider=provider, lane=lane))
            else:
                await self._judge(provider, lane, await self._ask(provider, lane))
        finally:
            del self._under_way[provider, lane]

    async def _ask(self, provider: str, lane: str) -> Outcome | None:
        asked = self._providers.get(provider)
        if asked is None:
            return Blocked("the configuration has no such provider any more")
        return await ask(asked, provider, lane, self._events)

    async def _judge(self, provider: str, lane: str, outcome: Outcome | None) -> None:
        now = self._clock.seconds()
        if outcome is None:
            await self._spool.block(self._lanes.try_one(provider, lane, now))
        elif isinstance(outcome, Delivered):
            await self._spool.block(Block(provider=provider, lane=lane))
            self._lanes.opened(provider, lane)
        else:
            await self._spool.block(self._lanes.block(provider, lane, outcome.why, now, probed=True))
