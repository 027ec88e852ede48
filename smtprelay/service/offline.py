"""
The operator's actions on a spool while the relay does not run.

Providers and routes decide where a rerouted mail goes and how a bounce is written. They are built as for the
relay, but on a reactor that never runs, so nothing is connected.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from smtprelay.config.model import Config
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.message_id import id_maker
from smtprelay.policy.router import Router
from smtprelay.providers.context import ProviderContext
from smtprelay.service.build.bounces import OwnMessages, bounce_settings
from smtprelay.service.build.delivery import build_context
from smtprelay.service.build.listeners import route_match
from smtprelay.service.build.providers import build_providers


def build_operator(
    config: Config, spool: Spool, seconds: Callable[[], float], random_bits: Callable[[int], int]
) -> OperatorActions:
    """Return the operator's actions on ``spool``."""
    clock = Clock()
    clock.advance(seconds())
    context = ProviderContext(
        reactor=clock,
        events=_silence,
        defer_to_thread=_nowhere,
        defer_to_own_thread=_nowhere,
        mime=ProcessMimeWorker(clock, _silence),
        hostname=config.hostname,
    )
    providers = build_providers(config, context)
    router = Router([route_match(route) for route in config.routes], providers)
    post = OwnMessages(config, router, providers, id_maker(seconds, random_bits), clock)
    dispatch = build_context(config, spool, providers, LaneStates(_silence), clock=clock, events=_silence)
    return OperatorActions(dispatch, DsnReporter(bounce_settings(config, providers), post))


def _silence(_event: str, /, **_fields: object) -> None:
    """Ignore an event."""


def _nowhere(function: object, *_arguments: object) -> Any:
    raise AssertionError(f"{function}: the relay does not run")
