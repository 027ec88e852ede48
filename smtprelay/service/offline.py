"""
The parts of the relay that an operator's change needs while the relay does not run.

Where a rerouted mail goes and how a bounce is written, the providers and the routes decide: they are
built as for the relay, but for a reactor that never runs, so nothing is connected.
"""

from collections.abc import Callable

from twisted.internet.task import Clock

from smtprelay.config.model import Config
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.message_id import new_id
from smtprelay.policy.router import Router
from smtprelay.service.build.bounces import OwnMessages, bounce_settings
from smtprelay.service.build.dispatch import build_context
from smtprelay.service.build.listeners import rule
from smtprelay.service.build.providers import ProviderContext, build_providers


def build_desk(
    config: Config, spool: Spool, seconds: Callable[[], float], random_bits: Callable[[int], int]
) -> OperatorActions:
    """Return what prepares an operator's changes of ``spool``."""
    clock = Clock()
    clock.advance(seconds())
    context = ProviderContext(
        reactor=clock,
        events=_silence,
        defer_to_thread=_nowhere,
        mime=ProcessMimeWorker(clock, _silence),
        hostname=config.hostname,
    )
    providers = build_providers(config, context)
    router = Router([rule(route) for route in config.routes], providers)
    post = OwnMessages(config, router, providers, lambda: new_id(seconds(), random_bits), clock)
    dispatch = build_context(config, spool, providers, LaneStates(_silence), clock, _silence)
    return OperatorActions(dispatch, DsnReporter(bounce_settings(config, providers), post))


def _silence(_event: str, /, **_fields: object) -> None:
    """Nobody listens."""


def _nowhere(function: object, *_arguments: object) -> None:
    raise AssertionError(f"{function}: the relay does not run")
