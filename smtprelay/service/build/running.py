"""
All that follows from a configuration, built whole before anything of it is used.

So a reload changes nothing if the new configuration cannot be used, and everything at once if it can.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from smtprelay.config.model import Config
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dsn.delay_notice import Delays
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.notices import EndNotices
from smtprelay.dispatch.reachability_watch import ReachabilityWatch
from smtprelay.dispatch.synchronous.delivery import SynchronousDelivery
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.dispatch.synchronous.partial import PartialSuccess
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.route import RateLimit
from smtprelay.net.buffer_budget import Budget
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.router import Router
from smtprelay.providers.context import ProviderContext
from smtprelay.service.build.bounces import OwnMessages
from smtprelay.service.build.delivery import build_context, build_delays, build_notices, build_synchronous
from smtprelay.service.build.listeners import (
    ListenerBuilder,
    ListenerSetup,
    Receiver,
    policy_user,
    route_match,
)
from smtprelay.service.build.providers import build_providers
from smtprelay.service.build.webhook import build_notifier, build_webhook, webhook_rate_limits
from smtprelay.service.periodic import LogWatch
from smtprelay.service.threads import Threads


@frozen(kw_only=True)
class Lasting:
    """
    What a relay has from its start to its end, whatever its configuration becomes.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar permits: the spool, or without one what counts requests to the providers in memory.
    :ivar clock: of the mail; the nodes of a spool share it.
    """

    reactor: Any
    events: Events
    spool: Spool | None
    permits: Spool
    clock: Any
    lanes: LaneStates
    new_id: Callable[[], str]
    threads: Threads
    mime: ProcessMimeWorker
    budget: Budget
    throttle: LoginThrottle
    log: LogWatch
    deliveries: SynchronousDeliveries


@frozen(kw_only=True)
class RunningConfig:
    """
    A configuration, and what a relay works with because of it.

    :ivar providers: by name, with the built-in one of webhooks.
    :ivar delays: ``None``: nobody wants to know of late mail.
    """

    config: Config
    providers: Mapping[str, Provider]
    context: DispatchContext
    notices: EndNotices
    reachability: ReachabilityWatch
    listeners: Sequence[ListenerSetup]
    synchronous: SynchronousDelivery
    partial_success: PartialSuccess
    delays: Delays | None

    async def close(self) -> None:
        """Close the connections to the providers."""
        for provider in self.providers.values():
            await provider.close()


def build(config: Config, lasting: Lasting) -> RunningConfig:
    """
    Return what follows from ``config``; nothing is opened or connected yet.

    :raises CertificateError: a listener's certificate cannot be used.
    """
    clock, events = lasting.clock, lasting.events
    providers = ProviderContext(
        reactor=lasting.reactor,
        events=events,
        defer_to_thread=lasting.threads.work,
        mime=lasting.mime,
        hostname=config.hostname,
    )
    built = build_providers(config, providers) | build_webhook(config, providers)
    context = build_context(config, lasting.permits, built, lasting.lanes, clock=clock, events=events)
    router = Router([route_match(route) for route in config.routes], built)
    post = OwnMessages(config, router, built, lasting.new_id, clock)
    notices = build_notices(config, context, post, build_notifier(config, lasting.new_id, clock))
    synchronous, partial_success = build_synchronous(context, notices, lasting.spool)
    return RunningConfig(
        config=config,
        providers=built,
        context=context,
        notices=notices,
        reachability=ReachabilityWatch(
            providers.reachabilities,
            built,
            lasting.reactor,
            events,
            spool=lasting.permits.admin,
            lanes=lasting.lanes,
        ),
        listeners=_listeners(config, router, lasting),
        synchronous=synchronous,
        partial_success=partial_success,
        delays=None if lasting.spool is None else build_delays(config, context, notices.reporter),
    )


def _listeners(config: Config, router: Router, lasting: Lasting) -> Sequence[ListenerSetup]:
    builder = ListenerBuilder(
        config=config,
        router=router,
        users=Users(map(policy_user, config.users), lasting.threads.login, lasting.reactor),
        throttle=lasting.throttle,
        receiver=Receiver(lasting.spool, lasting.deliveries, lasting.budget),
        new_id=lasting.new_id,
        clock=lasting.clock,
    )
    return [builder.setup(listener, lasting.reactor, lasting.events) for listener in config.listeners]


def rate_limits(config: Config) -> dict[str, RateLimit]:
    """Return how fast each provider may be asked, by its name."""
    return {name: each.rate_limit for name, each in config.providers.items()} | webhook_rate_limits(config)
