"""
What an operator has to know without asking: which providers cannot be reached, what clients are refused, and
that the log cannot be written.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.task import LoopingCall

from smtprelay.dispatch.reach import LOOK_EVERY, ReachWatch
from smtprelay.interfaces import Events, Provider, Spool
from smtprelay.log import Log
from smtprelay.logwriter import Trouble
from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reachability
from smtprelay.refused_mail import FLUSH_EVERY, Ledger
from smtprelay.service.chores import every


class Attention:
    """
    The alarms of one relay.

    :ivar reachability: for the providers, who say how far they come.
    :ivar ledger: hears of each refusal.

    :param events: those who hear what happens, the log among them.
    """

    def __init__(self, reactor: Any, events: Iterable[Events]) -> None:
        self.reachability = Reachability(reactor.seconds)
        self.ledger = Ledger(reactor.seconds)
        self._reactor = reactor
        self._log = next((each for each in events if isinstance(each, Log)), Log())
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
            every(self._reactor, events, "log", LOOK_EVERY, partial(self._look_at_log, events)),
        ]

    def unreachable(self) -> Collection[Unreachable]:
        """Return the providers that this process cannot reach."""
        return () if self._watch is None else self._watch.unreachable

    def log_trouble(self) -> Trouble | None:
        """Return why the log cannot be written, if so."""
        return self._log.trouble

    async def _look_at_log(self, events: Events) -> None:
        lost = self._log.recovered()
        if lost is not None:
            events("log.writable", lines=lost)

    def stop(self) -> None:
        """Look no more."""
        for call in self._calls:
            call.stop()
        self._calls = ()
        if self._watch is not None:
            self._watch.stop()
