"""
What delivers the mail of a configuration: from the spool, and while its client waits.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from smtprelay.config.model import Config
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dsn.delay_notice import Delays
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.end_reports import EndReports
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.rate_watch import RateWatch
from smtprelay.dispatch.synchronous.delivery import SynchronousDelivery
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.dispatch.synchronous.partial import PartialSuccess
from smtprelay.dispatch.synchronous.permits import SynchronousPermits
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool
from smtprelay.net.buffer_budget import Budget
from smtprelay.service.build.bounces import InternalMessages, all_routes, bounce_settings


def build_context(
    config: Config,
    spool: Spool,
    providers: Mapping[str, Provider],
    lanes: LaneStates,
    *,
    clock: Any,
    events: Events,
) -> DispatchContext:
    """Return what those who deliver work with: from the spool, and while a client waits."""
    return DispatchContext(
        spool=spool,
        providers=providers,
        routes=all_routes(config),
        lanes=lanes,
        clock=clock,
        events=events,
        jitter=random.random,
    )


def build_end_reports(
    config: Config,
    context: DispatchContext,
    post: InternalMessages,
    notifier: WebhookNotifier | None,
    copies: Mapping[str, Mapping[str, str]],
) -> EndReports:
    """Return what makes the messages that tell how mail ended; ``copies``: of :func:`bounce_settings`."""
    reporter = DsnReporter(bounce_settings(config, context.providers, copies), post, context.clock)
    return EndReports(reporter=reporter, notifier=notifier, clock=context.clock, events=context.events)


def build_synchronous(
    context: DispatchContext,
    end_reports: EndReports,
    spool: Spool | None,
    defer_to_thread: Callable[..., Any],
    budget: Budget,
) -> SynchronousDeliveries:
    """
    Return what delivers for synchronous listeners.

    :param context: that of the dispatcher; its spool counts what is asked of the providers.
    :param spool: if there is one: takes the rest of a mail that a provider took for some recipients only.
    """
    clock, events = context.clock, context.events
    permits = SynchronousPermits(context.spool.permits, context.lanes, clock, events)
    delivery = SynchronousDelivery(
        providers=context.providers,
        routes=context.routes,
        permits=permits,
        clock=clock,
        events=events,
    )
    partial_success = PartialSuccess(spool=spool, context=context, permits=permits, end_reports=end_reports)
    return SynchronousDeliveries(
        delivery, partial_success, clock=clock, events=events, defer_to_thread=defer_to_thread, budget=budget
    )


def build_delays(config: Config, context: DispatchContext, reporter: DsnReporter) -> Delays | None:
    """Return what looks for late mail; ``None``: delay notices are not configured."""
    after = config.bounces.delay_notice
    if after is None:
        return None
    return Delays(
        context.spool,
        context.routes,
        reporter,
        after=after,
        clock=context.clock,
        events=context.events,
    )


def build_rates(config: Config, context: DispatchContext) -> RateWatch:
    """Return what reads the rates that the configuration does not say."""
    providers = {name: context.providers[name] for name, each in config.providers.items() if not each.rate}
    share = config.workers if config.spool is None else 1
    return RateWatch(providers, context.spool, context.clock, context.events, share=share)
