"""
Moves what waits in a lane that does not run to other providers of its routes.

A mail whose own attempt finds its lane blocked continues elsewhere at once. This moves the others: those that
wait in the lane, those that still come in, and those of a provider that the configuration no longer has. Each
is looked at once, and again after a probe, for by then another provider may work.
"""

from functools import partial
from typing import Final

from attrs import define, field

from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.failover import Failover
from smtprelay.model.message import Delivery
from smtprelay.model.queue import DueSelection, Edit
from smtprelay.model.queue_admin import CHANGED, Prepared

#: What became due so shortly before a look may have been committed after it; it is looked at again, seconds.
#: The spool's clock may be as much ahead of ours: it moves what is due by its own.
_OVERLAP: Final = 10.0

#: How often to look for mail of a provider that is gone: an operator may release some, seconds.
_SEARCH_EVERY: Final = 30.0

#: A provider, and the lane within it.
StoppedLane = tuple[str, str]


@define(eq=False)
class RerouteRunner:
    """Reroutes what waits in stopped lanes, one reroute at a time for each."""

    _context: DispatchContext
    _gone: list[StoppedLane] | None = field(default=None, init=False)
    _search_again: float = field(default=0.0, init=False)
    _since: dict[StoppedLane, float] = field(factory=dict, init=False)
    #: Whether the lane is to be gone through once more.
    _under_way: dict[StoppedLane, bool] = field(factory=dict, init=False)
    _stopping: bool = field(default=False, init=False)

    async def gone(self) -> tuple[list[StoppedLane], float | None]:
        """
        Return the providers, as lanes, in which mail waits though the configuration has them no longer.

        The spool is asked now and then, and when some of it becomes due, for what is not due is not moved;
        the second value is when. Where other nodes share the spool it is asked once: they may have a provider
        that is new.
        """
        now, spool = self._context.clock.seconds(), self._context.spool.admin
        if now < self._search_again:
            return self._gone or [], self._search_again
        self._search_again = now + _SEARCH_EVERY
        if self._gone is None or len(await spool.nodes()) <= 1:
            waiting = [each for each in (await spool.stats()).lanes if each.waiting]
            gone = [each for each in waiting if each.provider not in self._context.providers]
            self._gone = [(provider, "") for provider in sorted({each.provider for each in gone})]
            later = [each.due for each in gone if each.due is not None and each.due > now]
            self._search_again = min([now + _SEARCH_EVERY, *later])
        return self._gone, self._search_again if self._gone else None

    async def run(self, provider: str, lane: str) -> int:
        """
        Move what is due in a stopped lane to other providers of its routes; return how many deliveries.

        Mail of a paused provider is not moved. A reroute that is running is run once more.
        """
        stopped, context = (provider, lane), self._context
        # After a start a provider is probed first: its configuration may have been corrected.
        if lane == "" and provider in context.providers and not context.lanes.is_blocked(provider, lane):
            return 0
        if stopped in self._under_way:
            self._under_way[stopped] = True
            return 0
        count, self._under_way[stopped] = 0, True
        try:
            while self._under_way[stopped] and not self._stopping:
                self._under_way[stopped] = False
                count += await self._move(stopped)
        finally:
            del self._under_way[stopped]
        if count:
            name = " ".join(stopped).rstrip()
            context.events("relay.warning", text=f"{name} does not run: {count} deliveries go on elsewhere")
        return count

    def use(self, context: DispatchContext) -> None:
        """Reroute by other providers and routes from now on."""
        self._context, self._gone = context, None

    def begin_anew(self) -> None:
        """Look at all that waits the next time: something may have changed for it."""
        self._since.clear()
        self._search_again = 0.0

    def stop(self) -> None:
        """Move nothing more."""
        self._stopping = True

    async def _move(self, stopped: StoppedLane) -> int:
        """Go once through what waits, step by step."""
        now, count, mark = self._context.clock.seconds(), 0, ""
        selection = self._selection(*stopped, now)
        if not selection.routes:
            return 0
        # Uncertain deliveries are only selected if no provider can resolve them any more.
        edit = Edit(action="reroute", who="the relay", why=f"{stopped[0]} does not run", force=True)
        while True:
            step = await self._context.spool.admin.edit(selection, edit, mark, self._prepare)
            count, mark = count + step.count, step.mark
            if CHANGED in step.left:
                self._under_way[stopped] = True  # an attempt has just ended, or begun
            if not mark or self._stopping:
                break
        self._since[stopped] = now - _OVERLAP
        return count

    async def _prepare(self, delivery: Delivery, edit: Edit) -> Prepared:  # noqa: ARG002 -- a Prepare
        context = self._context
        route = context.routes.get(delivery.route)
        if route is None:
            return Prepared(refusal="the configuration has changed meanwhile")
        failover = Failover(delivery, route.via, context.providers)
        place = failover.next_provider(partial(context.lanes.stopped, now=context.clock.seconds()))
        if place is None:
            return Prepared(refusal="no other provider of its route takes it now")
        return Prepared(provider=place.provider, lane=place.lane)

    def _selection(self, provider: str, lane: str, now: float) -> DueSelection:
        known = provider in self._context.providers
        others = {each for each in self._context.providers if each != provider}
        running = {each for each in others if not self._context.lanes.stopped(each, "", now)}
        ways = [route for route in self._context.routes.values() if not running.isdisjoint(route.via)]
        return DueSelection(
            provider=provider,
            lane=lane,
            routes=tuple(route.name for route in ways),
            lost=tuple(route.name for route in ways if route.on_uncertain == "resend" and not known),
            since=self._since.get((provider, lane), 0.0),
            until=now + _OVERLAP,
        )
