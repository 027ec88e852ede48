"""
Puts a configuration into force: the first one at the start, others while the relay runs.

A session takes the new rules with its next transaction. A transaction or an attempt that has begun ends by
the configuration that it began with, whose connections are closed when nothing uses them any more.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.task import LoopingCall

from smtprelay.config.changes import Change, applicable, changes
from smtprelay.config.model import Config
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.reachability_watch import CHECK_EVERY
from smtprelay.model.archive import RoutingTargets
from smtprelay.providers.registry import task_places
from smtprelay.service.build.http import Sites
from smtprelay.service.build.running import Lasting, RunningConfig, build, rate_limits
from smtprelay.service.errors import StartFailed, explain
from smtprelay.service.listeners import Listeners
from smtprelay.service.periodic import PeriodicTask, every
from smtprelay.web.context import Sources


class ReloadFailed(Exception):  # noqa: N818 -- it says what happened
    """The relay goes on with the configuration that it had; the text says why."""


@frozen
class Reloaded:
    """
    What a reload has changed.

    :ivar restart: the keys of the settings that a restart will change.
    """

    changes: Sequence[Change]
    restart: Sequence[str]


@define(eq=False)
class Reloader:
    """
    Holds the configuration that is in force.

    :param sources: what the sites show, but for what the configuration decides.
    :ivar running: what follows from it.
    """

    running: RunningConfig
    _lasting: Lasting
    _dispatcher: Dispatcher
    _listeners: Listeners
    _sites: Sites
    _sources: Sources
    _clocks: list[LoopingCall] = field(factory=list, init=False)
    #: What waits for the last attempts by a configuration before.
    _leaving: set[Deferred[Any]] = field(factory=set, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _is_open: bool = field(default=False, init=False)

    async def open(self) -> None:
        """
        Put the first configuration into force.

        :raises CannotListenError: so ``OSError`` and :class:`StartFailed`.
        """
        running = self.running
        self._lasting.deliveries.use(running.synchronous, running.partial_success)
        await running.reachability.begin()
        await self._show(running)
        await self._listeners.open(running.listeners)
        self._begin()

    def reload(self, config: Config) -> Deferred[Reloaded]:
        """
        Put another configuration into force, and return what that has changed.

        Nothing has changed if it fails with :class:`ReloadFailed`.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._reload(config)))

    async def _reload(self, config: Config) -> Reloaded:
        if not self._is_open:
            raise ReloadFailed("the relay is not ready, or stops")
        before = self.running.config
        try:
            config, restart = applicable(before, config)
            changed = changes(before, config)
            if changed:
                await self._change(build(config, self._lasting))
            # Also if only the content of a secret's file is new: a blocked lane may work now.
            await self._lasting.permits.reconfigure(rate_limits(config))
        except Exception as error:
            told = explain(error)
            if isinstance(told, StartFailed | ValueError):
                raise ReloadFailed(str(told)) from error
            raise
        return Reloaded(changed, restart)

    async def _change(self, new: RunningConfig) -> None:
        """Open what ``new`` needs; then put it into force; then close what only the one before had."""
        old = self.running
        await new.reachability.begin()
        await self._listeners.open(new.listeners)
        try:
            await self._show(new)
        except Exception:
            await self._show(old)
            await self._listeners.use(old.listeners)
            raise
        self._end()
        self.running = new
        ended = [
            self._dispatcher.use(new.context, new.notices),
            self._lasting.deliveries.use(new.synchronous, new.partial_success),
        ]
        closed = self._listeners.use(new.listeners)
        self._begin()
        leaving = DeferredList([*ended, closed]).addCallback(lambda _: Deferred.fromCoroutine(old.close()))
        self._leaving.add(leaving)
        leaving.addErrback(self._not_closed).addCallback(lambda _: self._leaving.discard(leaving))

    async def _show(self, running: RunningConfig) -> None:
        operations = evolve(
            self._sources.operations,
            operator=OperatorActions(
                running.context, running.notices.reporter, self._dispatcher, running.reachability
            ),
            targets=RoutingTargets.of(running.config),
        )
        await self._sites.show(running.config, evolve(self._sources, operations=operations))

    def _begin(self) -> None:
        """Start what runs periodically by the configuration."""
        running, lasting = self.running, self._lasting
        lasting.mime.prefixes = task_places(running.config.providers.values())
        self._sources.relay.metrics.known(tuple(running.providers))
        tasks: list[PeriodicTask] = [("reachability", CHECK_EVERY, running.reachability.check_providers)]
        if running.delays is not None:
            tasks.append(("delays", running.delays.every, running.delays.check))
        self._clocks = list(map(partial(_begun, lasting), tasks))
        self._is_open = True

    def _end(self) -> None:
        """End it."""
        self._is_open = False
        for call in self._clocks:
            call.stop()
        self._clocks = []
        self.running.reachability.stop()
        if self.running.delays is not None:
            self.running.delays.stopping = True

    def stop(self) -> None:
        """Begin nothing more."""
        self._end()

    async def close(self) -> None:
        """Close the connections to all providers; no attempt is under way any more."""
        await DeferredList([*self._leaving, Deferred.fromCoroutine(self.running.close())])

    def _not_closed(self, failure: Any) -> None:
        self._lasting.events("relay.warning", text=f"reload: {failure.getErrorMessage()}")


def _begun(lasting: Lasting, task: PeriodicTask) -> LoopingCall:
    return every(lasting.reactor, lasting.events, *task)
