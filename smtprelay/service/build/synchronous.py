"""
Synchronous delivery of a configuration: built only where a listener wants it.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from smtprelay.net.buffer_budget import Budget
from smtprelay.config.model import Config
from smtprelay.dispatch.synchronous.permits import SynchronousPermits
from smtprelay.dispatch.synchronous.delivery import Direct
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.dsn.reporter import Post, DsnReporter
from smtprelay.dispatch.synchronous.partial import PartialSuccess
from smtprelay.dispatch.synchronous.incoming import Synchronous
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Permits, WorkQueue
from smtprelay.service.build.bounces import all_routes, bounce_settings


def build_synchronous(
    config: Config,
    providers: Mapping[str, Provider],
    spool: WorkQueue | None,
    permits: Permits,
    lanes: LaneStates,
    *,
    post: Post,
    notifier: WebhookNotifier | None,
    reactor: Any,
    events: Events,
    defer_to_thread: Callable[..., Any],
    budget: Budget,
) -> Synchronous | None:
    """
    Return what delivers for the synchronous listeners of ``config``; ``None`` if there are none.

    :param spool: if there is one: takes what is left of a mail that a provider took for some recipients only.
    :param permits: counts what is asked of the providers.
    :param lanes: what the dispatcher knows of stopped lanes.
    """
    if all(listener.delivery == "spool" for listener in config.listeners):
        return None
    routes = all_routes(config)
    admission = SynchronousPermits(permits, lanes, reactor, events)
    direct = Direct(
        providers=providers,
        routes=routes,
        admission=admission,
        clock=reactor,
        events=events,
    )
    remainder = PartialSuccess(
        spool=spool,
        routes=routes,
        providers=providers,
        stopped=admission.stopped,
        reporter=DsnReporter(bounce_settings(config, providers), post, reactor),
        notifier=notifier,
        clock=reactor,
        events=events,
        chance=random.random,
    )
    return Synchronous(
        direct, remainder, clock=reactor, events=events, defer_to_thread=defer_to_thread, budget=budget
    )
