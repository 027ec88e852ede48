"""
The dispatcher, by the configuration.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from smtprelay.config.model import Config, SpoolSettings
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool
from smtprelay.service.build.bounces import OwnMessages, all_routes, bounce_settings


def build_dispatcher(
    config: Config,
    spool: Spool,
    providers: Mapping[str, Provider],
    *,
    lanes: LaneStates,
    post: OwnMessages,
    notifier: WebhookNotifier | None,
    reactor: Any,
    events: Events,
    probe_unreachable: Callable[[str], None],
) -> Dispatcher:
    """Return what delivers the mail of ``spool``, and probes its lanes; it is to be started."""
    return Dispatcher(
        spool,
        providers,
        all_routes(config),
        lanes=lanes,
        clock=reactor,
        events=events,
        jitter=random.SystemRandom().random,
        post=post,
        bounces=bounce_settings(config, providers),
        notifier=notifier,
        lease=(config.spool or SpoolSettings()).lease,
        probe_unreachable=probe_unreachable,
    )
