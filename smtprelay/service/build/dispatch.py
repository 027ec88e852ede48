"""
The dispatcher, by the configuration.
"""

import random
from collections.abc import Mapping
from typing import Any

from smtprelay.config.model import Config, SpoolSettings
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.notices import EndNotices
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool
from smtprelay.service.build.bounces import OwnMessages, all_routes, bounce_settings


def build_context(
    config: Config, spool: Spool, providers: Mapping[str, Provider], lanes: LaneStates, clock: Any, events: Events
) -> DispatchContext:
    """Return what the dispatcher works with, and those who deliver while a client waits."""
    return DispatchContext(
        spool=spool,
        providers=providers,
        routes=all_routes(config),
        lanes=lanes,
        clock=clock,
        events=events,
        jitter=random.SystemRandom().random,
    )


def build_notices(
    config: Config, context: DispatchContext, post: OwnMessages, notifier: WebhookNotifier | None
) -> EndNotices:
    """Return who makes the messages that tell how mail ended."""
    reporter = DsnReporter(bounce_settings(config, context.providers), post, context.clock)
    return EndNotices(reporter=reporter, notifier=notifier, clock=context.clock, events=context.events)


def build_dispatcher(config: Config, context: DispatchContext, notices: EndNotices) -> Dispatcher:
    """Return what delivers the mail of the spool, and probes its lanes; it is to be started."""
    return Dispatcher(context, notices, lease=(config.spool or SpoolSettings()).lease)
