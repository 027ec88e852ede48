"""
Puts a configuration into force: the first one at the start, others while the relay runs.

A session takes the new rules with its next transaction. A transaction or an attempt that has begun ends by
the configuration that it began with, whose connections are closed when nothing uses them any more.
"""

import gc
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from attrs import asdict, define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from smtprelay.config.changes import Change, applicable, changes
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.rate_watch import RateWatch
from smtprelay.dispatch.reachability_watch import CHECK_EVERY
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.interfaces import Events
from smtprelay.model.archive import RoutingTargets
from smtprelay.providers.registry import task_places
from smtprelay.service.build.delivery import build_rates
from smtprelay.service.build.http import HttpSites
from smtprelay.service.build.running import OpenSpool, RelayResources, RunningConfig, build, rate_limits
from smtprelay.service.errors import StartFailed, explain
from smtprelay.service.expiry_watch import CHECK_EVERY as EXPIRIES_EVERY
from smtprelay.service.listeners import Listeners
from smtprelay.service.periodic import PeriodicTask, every
from smtprelay.service.threads import Threads
from smtprelay.settings.provider import ProviderSettings
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.web.context import Reloaded, ReloadFailed, Sources

NOT_READY: Final = "the relay is not ready, or stops: try again"


@define(eq=False)
class Reloader:
    """
    Holds the configuration that is in force.

    :param sources: what the sites show, but for what the configuration decides.
    :ivar running: what follows from it.
    """

    running: RunningConfig
    _resources: RelayResources
    _storage: OpenSpool
    _dispatcher: Dispatcher
    _listeners: Listeners
    _sites: HttpSites
    _sources: Sources
    _clocks: list[LoopingCall] = field(factory=list, init=False)
    _rates: RateWatch | None = field(default=None, init=False)
    #: Of configurations before: the connections that are in use, and the synchronous deliveries.
    _leaving: set[Deferred[Any]] = field(factory=set, init=False)
    _deliveries: list[SynchronousDeliveries] = field(factory=list, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    #: The change that is being made.
    _changing: Deferred[Any] | None = field(default=None, init=False)
    _is_open: bool = field(default=False, init=False)

    async def open(self) -> None:
        """
        Put the first configuration into force.

        :raises CannotListenError: the same for ``OSError`` and :class:`StartFailed`.
        """
        running = self.running
        await running.watches.reachability.begin()
        await running.watches.expiries.check()
        await self._show(running)
        await self._listeners.open(running.listeners)
        self._begin()

    async def use(self, config: Config) -> Reloaded:
        """
        Put another configuration into force, and return what that has changed.

        Nothing has changed if it raises :class:`ReloadFailed`.
        """
        reloaded: Reloaded = await self._lock.run(lambda: Deferred.fromCoroutine(self._use(config)))
        return reloaded

    async def _use(self, config: Config) -> Reloaded:
        if not self._is_open:
            raise ReloadFailed(NOT_READY, later=True)
        self._changing = changing = Deferred.fromCoroutine(self._replace(config))
        try:
            done: Reloaded = await changing
        except Exception as error:
            raise as_failed(error, self._own_ports) from error
        finally:
            self._changing = None
        return done

    async def _replace(self, config: Config) -> Reloaded:
        # Secrets' files are read.
        compared = partial(_compared, self.running.config, config)
        config, restart, changed, same = await self._resources.threads.work(compared)
        if not changed:
            await self._change(self.running)
        else:
            kept = {name: each for name, each in self.running.renewed.items() if name in same}
            # Certificates and authorities are read.
            building = self._resources.threads.work(
                build, config, self._resources, self._storage, kept, self.running.watches.tables
            )
            await self._change(await building)
        return reloaded(changed, restart)

    async def _change(self, new: RunningConfig) -> None:
        """Open what ``new`` needs; then put it into force; then close what only the one before had."""
        old, permits = self.running, self._storage.permits
        if new is old:
            # The content of a secret's file may be new: a blocked lane may work now.
            await permits.reconfigure(rate_limits(new.config))
            return
        try:
            await new.watches.reachability.begin()
            await new.watches.expiries.check()
            await self._listeners.open(new.listeners)
            await self._show(new)
            # The last that can fail: what is claimed by it is attempted by it.
            await permits.reconfigure(rate_limits(new.config))
        except Exception:
            await self._show(old)
            self._listeners.use(old.listeners)
            await new.close(old)
            raise
        self._put_into_force(new)

    def _put_into_force(self, new: RunningConfig) -> None:
        old = self.running
        self._end()
        self.running = new
        self._dispatcher.use(new.context, new.end_reports)
        closed = self._listeners.use(new.listeners)
        self._deliveries = [each for each in (*self._deliveries, old.synchronous) if not each.is_idle]
        self._begin()
        leaving = DeferredList([closed, Deferred.fromCoroutine(old.close(new))])
        self._leaving.add(leaving)
        leaving.addCallback(self._left, leaving)

    def _left(self, _: object, leaving: Deferred[Any]) -> None:
        self._leaving.discard(leaving)
        # A relay lets the collector run rarely, and what follows from a configuration has cycles: a few
        # milliseconds, since what was there before the first mail is not looked at.
        gc.collect()

    async def _show(self, running: RunningConfig) -> None:
        operations = evolve(
            self._sources.operations,
            operator=OperatorActions(
                running.context, running.end_reports.reporter, self._dispatcher, running.watches.reachability
            ),
            targets=RoutingTargets.of(running.config),
        )
        await self._sites.show(running.config, evolve(self._sources, operations=operations))

    def _begin(self) -> None:
        """Start what runs periodically by the configuration."""
        running, resources = self.running, self._resources
        resources.log.use(running.config)
        resources.mime.prefixes = task_places(running.config.providers.values())
        self._sources.relay.metrics.known(tuple(running.context.providers))
        rates = self._rates = build_rates(running.config, running.context)
        tasks: list[PeriodicTask] = [
            ("reachability", CHECK_EVERY, running.watches.reachability.check_providers),
            ("rates", CHECK_EVERY, rates.check),
            ("expiries", EXPIRIES_EVERY, running.watches.expiries.check),
        ]
        if running.watches.delays is not None:
            tasks.append(("delays", running.watches.delays.every, running.watches.delays.check))
        self._clocks = list(map(partial(_begun, resources), tasks))
        self._is_open = True

    def _end(self) -> None:
        """Stop what runs periodically by the configuration."""
        self._is_open = False
        for call in self._clocks:
            call.stop()
        self._clocks = []
        self.running.watches.reachability.stop()
        if self._rates is not None:
            self._rates.stopping = True
        if self.running.watches.delays is not None:
            self.running.watches.delays.stopping = True

    def stop(self) -> None:
        """Begin nothing more, and wait for no credentials; a change that is being made is undone."""
        self._end()
        for renewed in self.running.renewed.values():
            renewed.stop_waiting()
        if self._changing is not None:
            self._changing.cancel()

    @property
    def _own_ports(self) -> Collection[int]:
        places = (*self._listeners.addresses.values(), *self._sites.addresses.values())
        return {place.port for place in places if hasattr(place, "port")}

    @property
    def deliveries(self) -> Sequence[SynchronousDeliveries]:
        """All that may be under way, also by configurations before."""
        return [*self._deliveries, self.running.synchronous]

    async def close(self) -> None:
        """Close the connections to all providers; no attempt is under way any more."""
        await DeferredList([*self._leaving, Deferred.fromCoroutine(self.running.close())])


class ReloadTarget(Protocol):
    """What continues with another configuration: a relay, or the supervisor of its workers."""

    async def use(self, config: Config) -> Reloaded:
        """Put ``config`` into force; raises :class:`ReloadFailed`."""


@define(eq=False)
class FileReloading:
    """
    Reads the configuration again.

    :param load: returns it; raises :class:`ConfigError`. It is called on a thread.
    :ivar target: ``None`` until the relay is ready.
    :ivar rejected: why the last one failed, and when, seconds since the epoch.
    """

    _load: Callable[[], Config]
    _threads: Threads
    _events: Events
    _clock: IReactorTime
    rejected: tuple[str, float] | None = field(default=None, init=False)
    target: ReloadTarget | None = field(default=None, init=False)
    #: What was read last is used last.
    _lock: DeferredLock = field(factory=DeferredLock, init=False)

    async def reload(self, who: str) -> Reloaded:
        """Put the configuration into force as its file is now; log what that has changed, or why not."""
        done: Reloaded = await self._lock.run(lambda: Deferred.fromCoroutine(self._reload(who)))
        return done

    async def _reload(self, who: str) -> Reloaded:
        if self.target is None:
            raise self._failed(who, NOT_READY, later=True)
        try:
            done = await self.target.use(await self._threads.work(self._load))
        except ConfigError as error:
            errors = [problem for problem in error.problems if problem.severity == "error"]
            raise self._failed(who, *map(str, errors)) from error
        except ReloadFailed as failed:
            raise self._failed(who, str(failed), later=failed.later) from failed
        self.rejected = None
        texts = [change["text"] for change in done.changes]
        texts += [f"{key}: changes when the relay is restarted" for key in done.restart]
        self._events("config.reloaded", who=who, changes="; ".join(texts) or "nothing has changed")
        if done.restart:
            keys = ", ".join(done.restart)
            self._events("relay.warning", text=f"reload: a restart is needed for what has changed in {keys}")
        return done

    async def hang_up(self) -> None:
        """Do so because of SIGHUP; a failure is only logged."""
        with suppress(ReloadFailed):
            await self.reload("SIGHUP")

    def _failed(self, who: str, *reasons: str, later: bool = False) -> ReloadFailed:
        self._events("config.rejected", who=who, reason="; ".join(reasons))
        more = f" ({len(reasons) - 1} more: smtprelay config check shows all)" if reasons[1:] else ""
        if not later:
            self.rejected = f"{reasons[0]}{more}", self._clock.seconds()
        return ReloadFailed(f"{reasons[0]}{more}", later=later)


def _compared(
    before: Config, config: Config
) -> tuple[Config, Sequence[str], Sequence[Change], Collection[str]]:
    """
    Return what of ``config`` can be put into force, what needs a restart, and what changes.

    The last are the providers of which nothing changes.
    """
    usable, restart = applicable(before, config)
    old, new = before.providers, usable.providers
    same = {name for name in old.keys() & new.keys() if _is_same(old[name], new[name])}
    return usable, restart, changes(before, usable), same


def _is_same(old: ProviderSettings, new: ProviderSettings) -> bool:
    return type(old) is type(new) and not changes(old, new)


def reloaded(changed: Sequence[Change], restart: Sequence[str]) -> Reloaded:
    """Return what has changed, as the API shows it."""
    return Reloaded([{**asdict(change), "text": str(change)} for change in changed], restart)


def as_failed(error: Exception, own_ports: Collection[int] = ()) -> Exception:
    """Return :class:`ReloadFailed` for what an operator can correct, and any other error as it is."""
    if isinstance(error, CancelledError):
        return ReloadFailed(NOT_READY, later=True)
    told = explain(error, own_ports)
    later = isinstance(error, SpoolFault)
    return ReloadFailed(str(told), later=later) if isinstance(told, StartFailed | ValueError) else error


def unexpected_failure(failure: Failure, events: Events) -> None:
    """Log what should not happen in a reload that nobody waits for."""
    text = f"reload: unexpected error: {failure.getErrorMessage()}"
    events("relay.warning", text=text, exc=failure.getTraceback())


def _begun(resources: RelayResources, task: PeriodicTask) -> LoopingCall:
    return every(resources.reactor, resources.events, *task)
