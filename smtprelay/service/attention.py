"""
What an operator is told without asking: which providers cannot be reached.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from twisted.internet.task import LoopingCall

from smtprelay.dispatch.reach import LOOK_EVERY, ReachWatch
from smtprelay.interfaces import Events, Provider, Spool
from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reachability
from smtprelay.service.chores import every


class Attention:
    """
    The alarms of one relay.

    :ivar reachability: for the providers, who say how far they come.
    """

    def __init__(self, reactor: Any, events: Events) -> None:
        self.reachability = Reachability(reactor.seconds)
        self._reactor = reactor
        self._events = events
        self._watch: ReachWatch | None = None
        self._calls: Sequence[LoopingCall] = ()

    def start(self, providers: Mapping[str, Provider], spool: Spool | None) -> None:
        """Begin to look."""
        shared = None if spool is None else spool.reach
        self._watch = ReachWatch(self.reachability, providers, shared, self._reactor, self._events)
        self._calls = [every(self._reactor, self._events, LOOK_EVERY, self._watch.look)]

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
