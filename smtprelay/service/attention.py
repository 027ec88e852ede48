"""
What an operator has to know without asking: which providers cannot be reached, and what clients are refused.
"""

from collections.abc import Collection, Mapping
from typing import Any

from twisted.internet.task import LoopingCall

from smtprelay.dispatch.reach import LOOK_EVERY, ReachWatch
from smtprelay.interfaces import Events, Provider, Spool
from smtprelay.log import Telling
from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reachability
from smtprelay.service.chores import every
from smtprelay.smtp.refusals import Refusals
from smtprelay.spool.memory import open_memory
from smtprelay.spool.terms import Terms


class Attention:
    """
    The alarms of one relay.

    :ivar reachability: for the providers, who say how far they come.
    :ivar refusals: hears of each refusal.
    """

    def __init__(self, reactor: Any, events: Events) -> None:
        self.reachability = Reachability(reactor.seconds)
        self.refusals = Refusals(reactor, events)
        self._reactor = reactor
        self._events = events
        self._watch: ReachWatch | None = None
        self._call: LoopingCall | None = None
        self._memory: Spool | None = None

    def start(self, providers: Mapping[str, Provider], spool: Spool | None) -> None:
        """Begin to look; a relay without a spool has its ledger of refused mail in memory."""
        shared = None if spool is None else spool.reach
        ledger = spool or open_memory(Terms(paces={}, events=Telling(())), clock=self._reactor)
        self.refusals.store = ledger.refusals
        self._memory = None if spool else ledger
        self._watch = ReachWatch(self.reachability, providers, shared, self._reactor, self._events)
        self._call = every(self._reactor, self._events, "reach", LOOK_EVERY, self._watch.look)

    def unreachable(self) -> Collection[Unreachable]:
        """Return the providers that this process cannot reach."""
        return () if self._watch is None else self._watch.unreachable

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.stop()
        if self._watch is not None:
            self._watch.stop()

    async def close(self) -> None:
        """Forget a ledger that is in memory."""
        if self._memory is not None:
            await self._memory.close()
