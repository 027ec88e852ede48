"""
All that follows from a configuration, built whole before anything of it is used.

So a reload changes nothing if the new configuration cannot be used, and everything at once if it can.
"""

from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList

from smtprelay.azure.table_rows import TableSource
from smtprelay.config.model import Config
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dsn.delay_notice import Delays
from smtprelay.dispatch.end_reports import EndReports
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.reachability_watch import ReachabilityWatch
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.http.renewed import Renewed
from smtprelay.interfaces import Events
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.route import RateLimit
from smtprelay.net.buffer_budget import Budget
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.router import Router
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.signer import MailSigner
from smtprelay.service.build.bounces import InternalMessages
from smtprelay.service.build.delivery import build_context, build_delays, build_end_reports, build_synchronous
from smtprelay.service.build.listeners import (
    ClientCounts,
    KnownLogins,
    ListenerBuilder,
    ListenerSetup,
    Receiver,
    policy_user,
    route_match,
)
from smtprelay.service.build.providers import build_providers
from smtprelay.service.build.tables import LoginTables, build_tables
from smtprelay.service.build.webhook import build_notifier, build_webhook, webhook_rate_limits
from smtprelay.service.errors import UNAVAILABLE, StartFailed
from smtprelay.service.expiry_watch import ExpiryWatch
from smtprelay.service.periodic import LogWatch
from smtprelay.service.threads import Threads


@frozen(kw_only=True)
class RelayResources:
    """What a process of the relay has, whatever its configuration says."""

    reactor: Any
    events: Events
    threads: Threads
    mime: ProcessMimeWorker
    budget: Budget
    counts: ClientCounts
    log: LogWatch


@frozen(kw_only=True)
class OpenSpool:
    """
    The spool of a relay, and what goes with it.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar permits: the spool, or without one what counts requests to the providers in memory.
    :ivar clock: of the mail; the nodes of a spool share it.
    :ivar new_id: makes message ids.
    """

    spool: Spool | None
    permits: Spool
    clock: Any
    lanes: LaneStates
    new_id: Callable[[], str]


@frozen(kw_only=True)
class Watches:
    """
    What looks periodically, because of a configuration.

    :ivar signers: what signs mail; each tells which keys cannot.
    :ivar tables: that of :class:`ProviderContext`.
    :ivar delays: ``None``: delay notices are not configured.
    """

    reachability: ReachabilityWatch
    expiries: ExpiryWatch
    signers: Sequence[MailSigner]
    tables: Mapping[Hashable, TableSource[Any]]
    delays: Delays | None


@frozen(kw_only=True)
class RunningCredentials:
    """
    What may have to be there before a relay starts.

    :ivar renewed: credentials that expire, by their provider.
    :ivar tables: those of logins.
    :ivar read_ahead: those that are read ahead.
    """

    renewed: Mapping[str, Renewed[Any]]
    tables: LoginTables
    read_ahead: Mapping[Hashable, TableSource[Any]]

    async def check_required(self) -> None:
        """
        Raise :class:`StartFailed` if there are none without which the relay must not start.

        What is read ahead is begun.
        """
        for table in self.read_ahead.values():
            table.latest.read_ahead()
        for name, renewed in self.renewed.items():
            if why := await renewed.missing():
                raise StartFailed(f"provider {name}: {why}", UNAVAILABLE)
        await self.tables.check_required()


@frozen(kw_only=True)
class RunningConfig:
    """A configuration, and what a relay works with because of it."""

    config: Config
    context: DispatchContext
    end_reports: EndReports
    watches: Watches
    credentials: RunningCredentials
    listeners: Sequence[ListenerSetup]
    synchronous: SynchronousDeliveries

    @property
    def renewed(self) -> Mapping[str, Renewed[Any]]:
        """Credentials that expire, by their provider."""
        return self.credentials.renewed

    async def close(self, other: "RunningConfig | None" = None) -> None:
        """
        Close the connections to the providers; then their credentials are of no more use.

        :param other: a configuration that stays in force; what it shares with this one stays, too.
        """
        shared = [] if other is None else list(map(id, other.renewed.values()))
        credentials = [each for each in self.renewed.values() if id(each) not in shared]
        await self._closed(provider.close() for provider in self.context.providers.values())
        await self._closed(each.close() for each in credentials)

    async def _closed(self, closing: Iterable[Coroutine[Any, Any, None]]) -> None:
        for succeeded, result in await DeferredList(
            list(map(Deferred.fromCoroutine, closing)), consumeErrors=True
        ):
            if not succeeded:
                failure: Any = result
                text = f"a provider could not be closed: {failure.getErrorMessage()}"
                self.context.events("relay.warning", text=text, exc=failure.getTraceback())


def build_dispatch(
    config: Config, providers: ProviderContext, storage: OpenSpool
) -> tuple[DispatchContext, Router, EndReports]:
    """Return what delivers, routes and reports with ``config``; nothing is connected yet."""
    built = build_providers(config, providers) | build_webhook(config, providers)
    clock, events = storage.clock, providers.events
    context = build_context(config, storage.permits, built, storage.lanes, clock=clock, events=events)
    router = Router([route_match(route) for route in config.routes], built)
    post = InternalMessages(config, router, built, storage.new_id, clock)
    return (
        context,
        router,
        build_end_reports(
            config,
            context,
            post,
            build_notifier(config, storage.new_id, clock),
            providers.failure_copies,
        ),
    )


def build(
    config: Config,
    resources: RelayResources,
    storage: OpenSpool,
    kept: Mapping[str, Renewed[Any]] = MappingProxyType({}),
    kept_tables: Mapping[Hashable, TableSource[Any]] = MappingProxyType({}),
) -> RunningConfig:
    """
    Return what follows from ``config``; nothing is opened or connected yet.

    It reads certificates and authorities, and only asks the reactor for the time: it may run on a thread.

    :param kept: that of :class:`ProviderContext`; so is ``kept_tables``.
    :raises CertificateError: a listener's certificate cannot be used.
    """
    providers = ProviderContext(
        reactor=resources.reactor,
        events=resources.events,
        defer_to_thread=resources.threads.work,
        defer_to_own_thread=resources.threads.own,
        mime=resources.mime,
        hostname=config.hostname,
    )
    providers.kept.update(kept)
    providers.kept_tables.update(kept_tables)
    context, router, end_reports = build_dispatch(config, providers, storage)
    synchronous = build_synchronous(
        context, end_reports, storage.spool, resources.threads.work, resources.budget
    )
    known = map(partial(policy_user, config), config.users)
    users = Users(known, resources.threads.login, resources.reactor)
    tables = build_tables(config, providers)
    builder = ListenerBuilder(
        config=config,
        router=router,
        logins=KnownLogins(users, providers.logins, tables.rows),
        counts=resources.counts,
        receiver=Receiver(storage.spool, synchronous, resources.budget),
        new_id=storage.new_id,
        clock=storage.clock,
    )
    return RunningConfig(
        config=config,
        context=context,
        end_reports=end_reports,
        watches=Watches(
            reachability=ReachabilityWatch(
                providers.reachabilities,
                context.providers,
                resources.reactor,
                resources.events,
                spool=storage.permits.admin,
                lanes=storage.lanes,
            ),
            expiries=ExpiryWatch(
                config, providers.renewed, resources.threads.work, resources.reactor, resources.events
            ),
            signers=providers.signers,
            tables=providers.tables,
            delays=None if storage.spool is None else build_delays(config, context, end_reports.reporter),
        ),
        credentials=RunningCredentials(renewed=providers.renewed, tables=tables, read_ahead=providers.tables),
        listeners=[builder.setup(each, resources.reactor, resources.events) for each in config.listeners],
        synchronous=synchronous,
    )


def rate_limits(config: Config) -> dict[str, RateLimit]:
    """Return how fast each provider may be asked, by its name."""
    return {name: each.rate_limit for name, each in config.providers.items()} | webhook_rate_limits(config)
