"""
A worker: a relay without HTTP sites of its own, as a child of the process that opened the sockets.

:mod:`.monitor` starts it by ``python -m smtprelay.entry``. It stops in order at SIGTERM, and when its parent
is gone. It ignores SIGINT, which a terminal sends to all processes; the parent passes SIGHUP on.
"""

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve, frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from smtprelay.config import Config, load, worker_share
from smtprelay.net.worker_memory import WorkerMemory
from smtprelay.service.command import (
    load_or_exit,
    reopen_log,
    run_service,
    start_logging,
    stop,
    watch,
)
from smtprelay.service.relay import Relay
from smtprelay.service.signals import after_first, at_hangup
from smtprelay.service.workers.api_proxy import control_of
from smtprelay.service.workers.heartbeat import READY, WAITING, Heartbeat
from smtprelay.service.workers.shared_text import SharedText
from smtprelay.service.workers.sockets import HEARTBEAT, LIFELINE, MEMORY, TEXT, Inherited


def run_worker(arguments: Sequence[str]) -> int:
    """Run one worker until it is stopped; return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from twisted.internet import reactor  # noqa: PLC0415

    options = _parse(arguments)

    text = SharedText(TEXT)
    whole = load_or_exit(options.config, options.sets, text.read()).config

    def own(config: Config) -> Config:
        # Only a restart changes the number of workers.
        share = worker_share(evolve(config, workers=whole.workers), options.number)
        return evolve(share, control_socket=control_of(config, options.number), http=())

    config = own(whole)
    hang_up = at_hangup(reactor)
    log = start_logging(config, worker=options.number)
    hang_up.append(partial(reopen_log, log))
    status: list[int] = []
    heartbeat = Heartbeat(reactor, HEARTBEAT)

    def note(event: str, /, **_: object) -> None:
        if event == "spool.unavailable":
            heartbeat.say(WAITING)

    inherited = Inherited(dict(options.sockets), WorkerMemory(MEMORY, options.number))
    relay = Relay(
        config,
        reactor,
        events=[log, note],
        inherited=inherited,
        load=lambda: own(load(options.config, os.environ, options.sets, text=text.read()).config),
    )
    reactor.callWhenRunning(heartbeat.start)
    relay.started.addCallback(lambda _: heartbeat.say(READY))
    watch(relay, reactor, status.append)
    # The supervisor decides how long to wait.
    after_first(reactor, lambda _number, _since: None)
    reactor.addReader(_Lifeline(LIFELINE, partial(stop, reactor)))
    run_service(relay, reactor)
    return status[0] if status else 0


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(prog="smtprelay worker")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--socket", dest="sockets", type=_socket, action="append", default=[])
    return parser.parse_args(arguments)


def _socket(text: str) -> tuple[str, int]:
    number, _, name = text.partition("=")
    return name, int(number)


@implementer(IReadDescriptor)
@frozen(eq=False)
class _Lifeline:
    """A pipe that becomes readable when its other end, the parent, is gone."""

    _number: int
    _gone: Callable[[], object]

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._number

    def doRead(self) -> Any:  # noqa: N802 -- Twisted's
        """Report the end; some reactors call :meth:`connectionLost` at once."""
        return ConnectionDone()

    def connectionLost(self, _reason: Any) -> None:
        """Tell the worker that its parent is gone."""
        self._gone()

    def logPrefix(self) -> str:  # noqa: N802 -- Twisted's
        """Return a name."""
        return "lifeline"
