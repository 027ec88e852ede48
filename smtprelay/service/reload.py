"""
Puts a configuration into force: the first one at the start, others while the relay runs.

A session takes the new rules with its next transaction. A transaction or an attempt that has begun ends by
the configuration that it began with, whose connections are closed when nothing uses them any more.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from attrs import asdict, define, evolve, field
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from smtprelay.config.changes import Change, applicable, changes
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.reachability_watch import CHECK_EVERY
from smtprelay.interfaces import Events
from smtprelay.model.archive import RoutingTargets
from smtprelay.providers.registry import task_places
from smtprelay.service.build.http import Sites
from smtprelay.service.build.running import Lasting, RunningConfig, build, rate_limits
from smtprelay.service.errors import StartFailed, explain
from smtprelay.service.listeners import Listeners
from smtprelay.service.periodic import PeriodicTask, every
from smtprelay.service.threads import Threads
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.web.context import Reloaded, ReloadFailed, Sources

NOT_READY: Final = ReloadFailed("the relay is not ready, or stops: try again")


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

    async def use(self, config: Config) -> Reloaded:
        """
        Put another configuration into force, and return what that has changed.

        Nothing has changed if it raises :class:`ReloadFailed`.
        """
        reloaded: Reloaded = await self._lock.run(lambda: Deferred.fromCoroutine(self._use(config)))
        return reloaded

    async def _use(self, config: Config) -> Reloaded:
        if not self._is_open:
            raise NOT_READY
        before = self.running.config
        try:
            config, restart = applicable(before, config)
            changed = changes(before, config)
            if changed:
                await self._change(build(config, self._lasting))
            # Also if only the content of a secret's file is new: a blocked lane may work now.
            await self._lasting.permits.reconfigure(rate_limits(config))
        except Exception as error:
            raise as_failed(error) from error
        return reloaded(changed, restart)

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
        leaving = Deferred.fromCoroutine(self._leave(old, [*ended, closed]))
        self._leaving.add(leaving)
        leaving.addErrback(unexpected_failure, self._lasting.events).addCallback(self._left, leaving)

    async def _leave(self, old: RunningConfig, ended: Sequence[Deferred[Any]]) -> None:
        await DeferredList(ended)
        await old.close()

    def _left(self, _: object, leaving: Deferred[Any]) -> None:
        self._leaving.discard(leaving)

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
        lasting.log.use(running.config.logging)
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


class Reloadable(Protocol):
    """What goes on with another configuration: a relay, or the supervisor of its workers."""

    async def use(self, config: Config) -> Reloaded:
        """Put ``config`` into force; raises :class:`ReloadFailed`."""


@define(eq=False)
class FileReloading:
    """
    Reads the configuration again.

    :param load: returns it; raises :class:`ConfigError`. It is called on a thread.
    :ivar target: ``None`` until the relay is ready.
    """

    _load: Callable[[], Config]
    _threads: Threads
    _events: Events
    target: Reloadable | None = field(default=None, init=False)

    async def reload(self, who: str) -> Reloaded:
        """Put the configuration into force as its file is now; log what that has changed, or why not."""
        try:
            if self.target is None:
                raise NOT_READY
            done = await self.target.use(await self._threads.work(self._load))
        except ConfigError as error:
            errors = [problem for problem in error.problems if problem.severity == "error"]
            raise self._failed(who, *map(str, errors)) from error
        except ReloadFailed as failed:
            raise self._failed(who, str(failed)) from failed
        texts = [change["text"] for change in done.changes]
        self._events("config.reloaded", who=who, changes="; ".join(texts) or "nothing has changed")
        if done.restart:
            keys = ", ".join(done.restart)
            self._events("relay.warning", text=f"reload: a restart is needed for what has changed in {keys}")
        return done

    async def hang_up(self) -> None:
        """Do so because of SIGHUP; a failure is only logged."""
        with suppress(ReloadFailed):
            await self.reload("SIGHUP")

    def _failed(self, who: str, *reasons: str) -> ReloadFailed:
        self._events("config.rejected", who=who, reason="; ".join(reasons))
        more = f" ({len(reasons) - 1} more: smtprelay config check shows all)" if reasons[1:] else ""
        return ReloadFailed(f"{reasons[0]}{more}")


def reloaded(changed: Sequence[Change], restart: Sequence[str]) -> Reloaded:
    """Return what has changed, as the API shows it."""
    return Reloaded([{**asdict(change), "text": str(change)} for change in changed], restart)


def as_failed(error: Exception) -> Exception:
    """Return :class:`ReloadFailed` for what an operator can correct, and any other error as it is."""
    told = explain(error)
    return ReloadFailed(str(told)) if isinstance(told, StartFailed | ValueError | SpoolFault) else error


def unexpected_failure(failure: Failure, events: Events) -> None:
    """Log what should not happen in a reload that nobody waits for."""
    events("relay.warning", text=f"reload: unexpected error: {failure.getErrorMessage()}")


def _begun(lasting: Lasting, task: PeriodicTask) -> LoopingCall:
    return every(lasting.reactor, lasting.events, *task)
