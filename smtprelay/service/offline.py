"""
The operator's actions on a spool while the relay does not run.

Providers and routes decide where a rerouted mail goes and how a bounce is written. They are built as for the
relay, but on a reactor that never runs, so nothing is connected.
"""

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from smtprelay.config.model import Config
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.message_id import id_maker
from smtprelay.providers.context import ProviderContext
from smtprelay.service.build.running import OpenSpool, build_dispatch


def build_operator(
    config: Config, spool: Spool, seconds: Callable[[], float], random_bits: Callable[[int], int]
) -> OperatorActions:
    """Return the operator's actions on ``spool``."""
    clock = Clock()
    clock.advance(seconds())
    providers = ProviderContext(
        reactor=clock,
        events=_silence,
        defer_to_thread=_nowhere,
        defer_to_own_thread=_nowhere,
        mime=ProcessMimeWorker(clock, _silence),
        hostname=config.hostname,
    )
    storage = OpenSpool(
        spool=spool,
        permits=spool,
        clock=clock,
        lanes=LaneStates(_silence),
        new_id=id_maker(seconds, random_bits),
    )
    context, _, end_reports = build_dispatch(config, providers, storage)
    # A long report would wait for the clock.
    return OperatorActions(context, evolve(end_reports.reporter, clock=None))


def _silence(_event: str, /, **_fields: object) -> None:
    """Ignore an event."""


def _nowhere(function: object, *_arguments: object) -> Any:
    raise AssertionError(f"{function}: the relay does not run")
