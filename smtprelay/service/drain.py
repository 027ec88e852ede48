"""
Emptying one relay while others go on: ``smtprelay drain``.

It takes no mail and begins no attempt any more, and says so to its clients (421), to its orchestrator (not
ready) and to the other nodes of its spool. What is under way is finished; what waits stays in the
spool, where other nodes, if there are any, deliver it.
"""

from typing import Final

from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.service.ports import Ports
from smtprelay.web.context import Drained

#: The states of what lies in the spool and is not under way.
_WAITING: Final = ("queued", "deferred", "held")


class Drain:
    """
    The switch.

    :param shared: other nodes deliver from the spool, too.
    :ivar on: whether it drains.
    """

    def __init__(
        self,
        ports: Ports,
        dispatcher: Dispatcher | None,
        spool: QueueAdmin,
        *,
        shared: bool,
        events: Events,
    ) -> None:
        self.on = False
        self._ports = ports
        self._dispatcher = dispatcher
        self._spool = spool
        self._shared = shared
        self._events = events

    async def turn(self, on: bool, who: str) -> None:
        """Take nothing new from now on, no mail and no delivery, or take it again."""
        if on == self.on:
            return
        self.on = on
        self._events("relay.drain" if on else "relay.undrain", who=who)
        if on:
            self._ports.turn_away()
        else:
            self._ports.admit()
        if self._dispatcher is not None and on:
            self._dispatcher.pause()
        elif self._dispatcher is not None:
            self._dispatcher.start()
        await self._spool.set_draining(on)

    async def state(self) -> Drained:
        """Return how far it is."""
        stock = await self._spool.stock()
        return Drained(
            draining=self.on,
            sessions=self._ports.sessions,
            attempts=0 if self._dispatcher is None else self._dispatcher.attempts,
            waiting=sum(stock.states.get(state, 0) for state in _WAITING),
            shared=self._shared,
        )
