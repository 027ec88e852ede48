"""
The way round a lane that does not run.

A mail whose own attempt finds its lane blocked goes on elsewhere at once. Here the others are led
the same way: those that wait in the lane, those that still come in, and those of a provider that the
configuration no longer has. Each is looked at once, and again after a probe, for by then another provider may
work.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.failover import next_place
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.model.message import Delivery
from smtprelay.model.queue import DueSelection, Edit
from smtprelay.model.queue_admin import Prepared
from smtprelay.model.route import Route

#: What became due so shortly before a look may have been committed after it; it is looked at again, seconds.
#: The spool's clock may be as much ahead of ours: it moves what is due by its own.
_OVERLAP: Final = 10.0

#: How often it is looked for mail of a provider that is gone: an operator may release some, seconds.
_LOOK_EVERY: Final = 30.0

#: A provider, and the lane within it.
Stopped = tuple[str, str]


@define(eq=False)
class RerouteRunner:
    """Reroutes what waits in lanes that do not run, one reroute at a time for each."""

    _spool: QueueAdmin
    _providers: Mapping[str, Provider]
    _routes: Mapping[str, Route]
    _lanes: LaneStates
    _clock: IReactorTime = field(kw_only=True)
    _events: Events = field(kw_only=True)
    _gone: list[Stopped] = field(factory=list, init=False)
    _looked: bool = field(default=False, init=False)
    _look_again: float = field(default=0.0, init=False)
    _since: dict[Stopped, float] = field(factory=dict, init=False)
    _under_way: set[Stopped] = field(factory=set, init=False)
    _again: set[Stopped] = field(factory=set, init=False)
    _stopping: bool = field(default=False, init=False)

    async def gone(self) -> tuple[list[Stopped], float | None]:
        """
        Return the providers, as lanes, in which mail waits though the configuration has them no longer.

        It is looked only now and then; with them comes when to ask again, if this time it was not. Where
        other nodes share the spool it is looked once: they may have a provider that is new.
        """
        now = self._clock.seconds()
        if now < self._look_again:
            return self._gone, self._look_again
        self._look_again = now + _LOOK_EVERY
        if not self._looked or len(await self._spool.nodes()) <= 1:
            lanes = (await self._spool.stock()).lanes
            waiting = {each.provider for each in lanes if each.waiting}
            self._gone = [(provider, "") for provider in sorted(waiting.difference(self._providers))]
            self._looked = True
        return self._gone, None

    def start(self, provider: str, lane: str) -> Deferred[int] | None:
        """
        Lead what is due in a stopped lane to other providers of its routes.

        Returns a Deferred that fires with the number of deliveries that were moved, and fails only as the
        spool fails; ``None`` if the lane is only paused, or is seen to already.
        """
        stopped = (provider, lane)
        if self._stopping or (provider in self._providers and not self._lanes.is_blocked(provider, lane)):
            return None
        self._again.add(stopped)
        if stopped in self._under_way:
            return None
        self._under_way.add(stopped)
        return Deferred.fromCoroutine(self._run(stopped))

    def begin_anew(self) -> None:
        """Look at all that waits the next time: something may have changed for it."""
        self._since.clear()
        self._look_again = 0.0

    def stop(self) -> None:
        """Move nothing more."""
        self._stopping = True

    async def _run(self, stopped: Stopped) -> int:
        count = 0
        try:
            while stopped in self._again and not self._stopping:
                self._again.discard(stopped)
                count += await self._lead(stopped)
        finally:
            self._under_way.discard(stopped)
        if count:
            name = " ".join(stopped).rstrip()
            self._events("relay.warning", text=f"{name} does not run: {count} deliveries go on elsewhere")
        return count

    async def _lead(self, stopped: Stopped) -> int:
        """Go once through what waits, step by step."""
        now = self._clock.seconds()
        selection = self._selection(*stopped, now)
        if not selection.routes:
            return 0
        # What is uncertain is only selected where nobody can resolve it any more.
        edit = Edit(action="reroute", who="the relay", why=f"{stopped[0]} does not run", force=True)
        step = await self._spool.edit(selection, edit, "", self._prepare)
        count = step.count
        while step.mark and not self._stopping:
            step = await self._spool.edit(selection, edit, step.mark, self._prepare)
            count += step.count
        self._since[stopped] = now - _OVERLAP
        return count

    async def _prepare(self, delivery: Delivery, edit: Edit) -> Prepared:  # noqa: ARG002 -- a Prepare
        is_stopped = partial(self._lanes.stopped, now=self._clock.seconds())
        place = next_place(delivery, self._routes[delivery.route].via, self._providers, is_stopped)
        if place is None:
            return Prepared(refusal="no other provider of its route takes it now")
        return Prepared(provider=place.provider, lane=place.lane)

    def _selection(self, provider: str, lane: str, now: float) -> DueSelection:
        ways = [route for route in self._routes.values() if self._leads_on(route, provider, now)]
        lost = [] if provider in self._providers else [each for each in ways if each.on_uncertain == "resend"]
        return DueSelection(
            provider=provider,
            lane=lane,
            routes=tuple(route.name for route in ways),
            lost=tuple(route.name for route in lost),
            since=self._since.get((provider, lane), 0.0),
            until=now + _OVERLAP,
        )

    def _leads_on(self, route: Route, provider: str, now: float) -> bool:
        others = [each for each in route.via if each != provider and each in self._providers]
        return any(not self._lanes.stopped(each, "", now) for each in others)
