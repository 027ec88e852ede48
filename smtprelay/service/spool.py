"""
Opens the spool that the configuration names, and puts it in order.

A relay may be started before the database of its spool, or while that is away: after a power failure
everything starts at once. It waits, says what it waits for, and is not ready meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.task import deferLater

from smtprelay.config.model import Config, SpoolSettings
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Spool
from smtprelay.net.buffer_budget import Budget
from smtprelay.service.build.http import HttpSites
from smtprelay.service.build.running import rate_limits
from smtprelay.service.errors import CONFIG, StartFailed
from smtprelay.service.threads import Threads
from smtprelay.spool.engines.filesystem import volatile_file_system
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import open_sqlite
from smtprelay.spool.engines.sqlite_reserve import LARGEST
from smtprelay.spool.engines.transaction import SpoolAway
from smtprelay.spool.location import DriverMissing, driver
from smtprelay.spool.receive.capacity import CapacityLimits
from smtprelay.spool.seal import Sealer, parse_seal_keys
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.api_routes import api_routes, route_table
from smtprelay.web.context import Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse
from smtprelay.web.site import PARTS

T = TypeVar("T")

#: Seconds between two attempts to reach the database, at first and after many.
_FIRST: Final = 1.0
_LONGEST: Final = 15.0


@define(eq=False)
class DatabaseRetry:
    """
    Tries again what needs a database, until that can be reached.

    :param sites: where it shows that it waits.
    :param sources: what they serve meanwhile: the API answers 503 where it would need the spool.
    :ivar complaint: why it waits; ``""`` if it does not.
    """

    _config: Config
    _clock: Any
    _events: Events
    _sites: HttpSites
    _sources: Sources
    complaint: str = field(default="", init=False)

    def _routes(self, sources: Sources) -> Sequence[ApiRoute]:
        async def away(_request: ApiRequest) -> ApiResponse:
            raise ApiProblem(503, self.complaint or "the spool is being opened")

        none = evolve(sources, spool=None, operations=evolve(sources.operations, lanes=None))
        there = {(each.method, each.path): each for each in api_routes(none)}
        table = route_table(sources)
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
            await self._sites.show(self._config, self._sources, {**PARTS, "api": self._routes})
            await deferLater(self._clock, delay)
            delay = min(2 * delay, _LONGEST)


@frozen
class SpoolOpener:
    """Opens the spool of a relay; waits for a database by ``retry``."""

    _config: Config
    _reactor: Any
    _events: Events
    _threads: Threads
    _retry: DatabaseRetry

    async def open(self, budget: Budget) -> Spool:
        """
        Return the spool; without one in the configuration, one in memory that only gives permits.

        :param budget: of memory for what is being received.
        :raises StartFailed: the software for it is not installed.
        :raises SpoolFault: it cannot be used; the same for :class:`SpoolBusy` and ``OSError``.
        """
        settings = self._config.spool
        options = SpoolOptions(rate_limits=rate_limits(self._config), events=self._events)
        if settings is None:
            return open_memory(options, clock=self._reactor)
        limit = settings.limit
        options = evolve(
            options,
            lease=settings.lease,
            floors=CapacityLimits(bytes=limit.bytes, deliveries=limit.deliveries, free=limit.free),
            budget=budget,
            keeps_bodies=settings.retention.bodies > 0,
            sealer=await self._sealer(settings),
        )
        spool = await self._retry.until_there(lambda: self._opened(settings, options))
        if settings.engine == "sqlite":
            forgets = await self._threads.work(volatile_file_system, settings.path)
            if forgets:
                self._events("relay.warning", text=f"the spool {settings.path} lies on {forgets}")
        return spool

    async def _sealer(self, settings: SpoolSettings) -> Sealer:
        """Return what seals logins; raises :class:`StartFailed` for a key that is none."""
        secret = settings.seal_key
        if secret is None:
            return Sealer()
        try:
            return Sealer(parse_seal_keys(await self._threads.work(secret.reveal)))
        except ValueError as error:
            raise StartFailed(f"spool.seal_key: {error}", CONFIG) from error

    async def recover(self, spool: Spool) -> None:
        """Put in order what a crash has left."""
        recovered = await self._retry.until_there(spool.recover)
        await spool.maintenance.check_health()
        if recovered:
            self._events("spool.recovered", deliveries=recovered)

    async def _opened(self, settings: SpoolSettings, options: SpoolOptions) -> Spool:
        if settings.engine == "memory":
            return open_memory(options, clock=self._reactor)
        if settings.engine == "sqlite":
            return await open_sqlite(settings.path, options, reactor=self._reactor, reserve=LARGEST)
        try:
            with driver():
                from smtprelay.spool.engines.postgres import open_postgres  # noqa: PLC0415 -- an optional dependency
        except DriverMissing as error:
            raise StartFailed(str(error), CONFIG) from error
        assert settings.url is not None
        return await open_postgres(settings.url.reveal, options, reactor=self._reactor)
