"""
What an operator has to know without asking: which providers cannot be reached, and what clients are refused.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from twisted.internet.task import LoopingCall

from smtprelay.dispatch.reach import LOOK_EVERY, ReachWatch
from smtprelay.interfaces import Events, Provider, Spool
from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reachability
from smtprelay.refused_mail import FLUSH_EVERY, Ledger
from smtprelay.service.chores import every


class Attention:
    """
    The alarms of one relay.

    :ivar reachability: for the providers, who say how far they come.
    :ivar ledger: hears of each refusal.
    """

    def __init__(self, reactor: Any) -> None:
        self.reachability = Reachability(reactor.seconds)
        self.ledger = Ledger(reactor.seconds)
        self._reactor = reactor
        self._watch: ReachWatch | None = None
        self._calls: Sequence[LoopingCall] = ()

    def start(self, providers: Mapping[str, Provider], spool: Spool | None, events: Events) -> None:
        """Begin to look."""
        shared = None if spool is None else spool.reach
        self.ledger.store = None if spool is None else spool.refusals
        self._watch = ReachWatch(self.reachability, providers, shared, self._reactor, events)
        self._calls = [
            every(self._reactor, events, "reach", LOOK_EVERY, self._watch.look),
            every(self._reactor, events, "refused", FLUSH_EVERY, self.ledger.flush),
        ]

    def unreachable(self) -> Collection[Unreachable]:
        """Return the providers that this process cannot reach."""
        return () if self._watch is None else self._watch.unreachable

    def stop(self) -> None:
        """Look no more."""
        for call in self._calls:
            call.stop()
        self._calls = ()
        if self._watch is not None:
            self._watch.stop()
