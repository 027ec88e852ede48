"""
From the configuration to a spool that is open and in order.

A relay may well be started before the database that has its spool, or while that is away: after a loss of
power everything comes up at once. It waits, tells what it waits for, and is not ready meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from attrs import evolve
from twisted.internet.task import deferLater

from smtprelay.config.model import Config
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Spool
from smtprelay.net.buffer_budget import Budget
from smtprelay.service.build.webhook import webhook_paces
from smtprelay.service.spool import open_spool
from smtprelay.service.threads import Threads
from smtprelay.spool.engines.filesystem import on_forgetful
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.options import SpoolOptions
from smtprelay.spool.engines.transaction import SpoolAway
from smtprelay.web.api import api_routes
from smtprelay.web.context import Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse
from smtprelay.web.router import Endpoint
from smtprelay.web.site import PARTS, Parts

T = TypeVar("T")

#: Between two attempts to reach the database: at first, and after many; seconds.
_FIRST: Final = 1.0
_LONGEST: Final = 15.0


class DatabaseRetry:
    """
    Tries again what needs a database, until that can be reached.

    :param waits: called before each wait; :attr:`complaint` says why.
    :ivar complaint: why it waits; ``""`` if it does not.
    """

    def __init__(self, clock: Any, events: Events, waits: Callable[[], Awaitable[object]]) -> None:
        self.complaint = ""
        self._clock = clock
        self._events = events
        self._waits = waits

    @property
    def parts(self) -> Parts:
        """What the sites serve now: while it waits the API says so where it would need the spool."""
        return {**PARTS, "api": self._routes} if self.complaint else PARTS

    def _routes(self, sources: Sources) -> Sequence[Endpoint]:
        async def away(_asked: ApiRequest) -> ApiResponse:
            raise ApiProblem(503, self.complaint or "the spool is being opened")

        none = evolve(sources, spool=None, permits=None)
        there = {(each.method, each.path): each for each in api_routes(none)}
        # No action of this table is called.
        unseen: Any = SimpleNamespace(admin=None, archive=None, maintenance=None)
        table = api_routes(evolve(sources, spool=unseen, permits=unseen, operator=unseen, draining=unseen))
        return [there.get((each.method, each.path)) or evolve(each, action=away) for each in table]

    async def until_there(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what ``attempt`` returns in the end; raises what it raises, but for :class:`SpoolAway`."""
        delay = _FIRST
        while True:
            try:
                result = await attempt()
            except SpoolAway as error:
                self.complaint = str(error)
            else:
                self.complaint = ""
                return result
            self._events("spool.unavailable", reason=self.complaint, seconds=delay)
            await self._waits()
            await deferLater(self._clock, delay)
            delay = min(2 * delay, _LONGEST)


class Opening:
    """
    Opens the spool of a relay.

    :param patience: what waits for a database.
    """

    def __init__(
        self, config: Config, reactor: Any, events: Events, threads: Threads, patience: DatabaseRetry
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._events = events
        self._threads = threads
        self._patience = patience

    async def open(self, budget: Budget) -> Spool:
        """
        Return the spool; without one in the configuration it is for permits alone, and in memory.

        :raises: as :func:`smtprelay.service.spool.open_spool`, but waits for a database that is away.
        """
        settings = self._config.spool
        paces = {name: each.paced for name, each in self._config.providers.items()}
        paces |= webhook_paces(self._config)
        if settings is None:
            return open_memory(SpoolOptions(paces=paces, events=self._events), clock=self._reactor)
        spool = await self._patience.until_there(
            lambda: open_spool(settings, paces, self._reactor, self._events, budget)
        )
        if settings.engine == "sqlite":
            forgets = await self._threads.work(on_forgetful, settings.path)
            if forgets:
                self._events("relay.warning", text=f"the spool {settings.path} lies on {forgets}")
        return spool

    async def recover(self, spool: Spool) -> None:
        """Put in order what a crash has left."""
        recovered = await self._patience.until_there(spool.recover)
        await spool.maintenance.check_health()
        if recovered:
            self._events("spool.recovered", deliveries=recovered)
