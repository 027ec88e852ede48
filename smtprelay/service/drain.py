"""
``smtprelay drain``: takes a relay out of service without stopping it.

It accepts no mail and starts no attempt, and says so to its clients (421), to its orchestrator (not ready)
and to the other nodes of its spool. What is under way is finished; what waits stays in the spool, where other
nodes deliver it.
"""

from typing import Final

from attrs import define, field

from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.service.listeners import Listeners
from smtprelay.web.context import Drained

#: The states of deliveries that wait in the spool.
_WAITING: Final = ("queued", "deferred", "held")


@define(eq=False)
class Drain:
    """
    Implements :class:`smtprelay.web.context.Draining` for one relay.

    :param shared: other nodes deliver from the spool, too.
    :ivar on: whether the relay is drained.
    """

    _listeners: Listeners
    _dispatcher: Dispatcher
    _spool: QueueAdmin
    _shared: bool = field(kw_only=True)
    _events: Events = field(kw_only=True)
    on: bool = field(default=False, init=False)

    async def switch(self, on: bool, who: str) -> None:
        if on == self.on:
            return
        self.on = on
        self._events("relay.drain" if on else "relay.undrain", who=who)
        if on:
            self._listeners.turn_away()
            self._dispatcher.pause()
        else:
            self._listeners.admit()
            self._dispatcher.start()
        await self._spool.set_draining(on)

    async def state(self) -> Drained:
        stats = await self._spool.stats()
        return Drained(
            draining=self.on,
            sessions=sum(factory.sessions for factory in self._listeners.factories),
            attempts=self._dispatcher.attempts,
            waiting=sum(stats.states.get(state, 0) for state in _WAITING),
            shared=self._shared,
        )


def why_draining(stopping: bool, drained: bool) -> str | None:
    """Return why no new mail is accepted, for those who ask whether the relay is ready; ``None`` if it is."""
    if stopping:
        return "is on: the relay is stopping"
    return "is on: no new mail is accepted, smtprelay drain --undo ends that" if drained else None
