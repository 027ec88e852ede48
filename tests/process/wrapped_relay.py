"""
The relay with some of its seams wrapped: ``python -m tests.process.wrapped_relay OPTIONS -- run -c FILE``.

``--die POINT:N`` makes it kill itself, as ``kill -9`` would, when it comes to a named point for the
N-th time; ``--freeze POINT:N`` makes it stand still there, until it is woken by SIGCONT.
``--probe-after SECONDS`` makes it ask sooner whether a blocked lane works again,
``--attempts-bound SECONDS`` give attempts up sooner when it stops, and with ``--stuck`` none ever ends.
``--look-every SECONDS`` makes it notice sooner that a worker stands still.
``--mime SECONDS`` has a folder's provider do MIME work first, for ever on a mail that says so; it may use
so many seconds of the processor.
``--one-signal SECONDS`` makes it take signals for one that come so long after each other.
``--linger SECONDS`` makes it wait less for a client to close what it has closed itself.
The product knows nothing of them.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from twisted.internet import defer

from smtprelay.cli import main
from smtprelay.dispatch import retry
from smtprelay.interfaces import Attempt, MailTooCostly, MimeWorkerUnavailable
from smtprelay.mime.worker.mime_worker import Bounds, ProcessMimeWorker
from smtprelay.model.outcome import Deferred, Failed
from smtprelay.providers.acs.api import AcsApi
from smtprelay.providers.acs.provider import Acs
from smtprelay.providers.capture.provider import Capture
from smtprelay.service import relay, reload, signals
from smtprelay.service.workers import heartbeat
from smtprelay.smtp import protocol
from smtprelay.spool.engines.postgres import PostgresEngine
from smtprelay.spool.engines.postgres_connection import PostgresConnection
from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.operations import settle
from smtprelay.spool.receive import incoming
from tests.mime.worker import tasks

#: Every point between two things that must not come apart, in the order of a mail's way.
POINTS = (
    "chunk uncommitted",
    "chunk committed",
    "accept uncommitted",
    "accept committed",  # and the client has not heard of it
    "claimed",  # and nothing is sent
    "requested",  # and the provider's result is outstanding
    "judged",  # and the outcome is not recorded
    "settle uncommitted",
    "settle committed",  # and nobody here knows
)

#: So, and where the database is a server: it has been told to commit, and has not answered.
POSTGRES_POINTS = (*POINTS, "chunk committing", "accept committing", "settle committing")


class Fate:
    """Says at each point whether it is time to die, or to stand still."""

    def __init__(self, point: str, count: int, end: signal.Signals) -> None:
        self._point = point
        self._left = count
        self._end = end

    def reach(self, point: str) -> None:
        """Be at ``point``, which may be the end."""
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            os.write(2, f"died at {point}\n".encode())
            os.kill(os.getpid(), self._end)


def wrap_transactions(fate: Fate) -> None:
    """Have ``fate`` told before and after each commit, with what the transaction is for."""
    purposes: set[str] = set()

    def noting(purpose: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **keywords: Any) -> Any:
            purposes.add(purpose)
            return operation(*arguments, **keywords)

        return noted

    incoming.store_chunk = noting("chunk", incoming.store_chunk)
    incoming.accept = noting("accept", incoming.accept)
    settle.settle = noting("settle", settle.settle)
    for engine in (SqliteEngine, PostgresEngine):
        engine.transaction = watched(engine.transaction, fate, purposes)
    execute = PostgresConnection.execute

    def executing(connection: PostgresConnection, sql: str, *parameters: Any) -> Any:
        answer = execute(connection, sql, *parameters)
        if sql == "COMMIT":
            for purpose in sorted(purposes):
                fate.reach(f"{purpose} committing")
        return answer

    PostgresConnection.execute = executing


def watched(
    transaction: Callable[..., AbstractContextManager[Any]], fate: Fate, purposes: set[str]
) -> Callable[..., AbstractContextManager[Any]]:
    """Return ``transaction`` with ``fate`` told before and after its commit."""

    @contextmanager
    def watching(engine: Any, connection: Any) -> Iterator[Any]:
        purposes.clear()
        with transaction(engine, connection) as begun:
            yield begun
            for purpose in sorted(purposes):
                fate.reach(f"{purpose} uncommitted")
        for purpose in sorted(purposes):
            fate.reach(f"{purpose} committed")

    return watching


def wrap_provider(fate: Fate) -> None:
    """Have ``fate`` told around a delivery."""
    deliver, send = Acs.deliver, AcsApi.send

    async def delivering(self: Acs, *arguments: Any) -> Any:
        fate.reach("claimed")
        results = await deliver(self, *arguments)
        fate.reach("judged")
        return results

    async def sending(self: AcsApi, *arguments: Any) -> Any:
        answer = await send(self, *arguments)
        fate.reach("requested")
        return answer

    Acs.deliver = delivering
    AcsApi.send = sending


def wrap_capture(seconds: float) -> None:
    """Have each mail worked on before it becomes a file, with tasks of the tests."""
    build = ProcessMimeWorker.__init__

    def built(self: ProcessMimeWorker, *arguments: Any, **keywords: Any) -> None:
        keywords |= {"bounds": Bounds(cpu=(seconds, 0.0))}
        build(self, *arguments, **keywords)
        workers.append(self)

    async def deliver(self: Capture, attempt: Attempt) -> Any:
        try:
            await workers[-1].run(tasks.as_told, attempt.body, {})
        except MailTooCostly as error:
            return attempt.results(Failed(str(error), "5.6.0"))
        except MimeWorkerUnavailable as error:
            return attempt.results(Deferred(str(error)))
        return await write(self, attempt)

    workers: list[ProcessMimeWorker] = []
    write, Capture.deliver = Capture.deliver, deliver
    ProcessMimeWorker.__init__ = built
    reload.task_places = lambda _: ("tests.",)


async def never(*_: Any) -> Any:
    """Deliver without an end."""
    await defer.Deferred()


def wrapped(argv: list[str]) -> int:
    """Run the relay's own command line behind ``--``, wrapped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--die", default="")
    parser.add_argument("--freeze", default="")
    parser.add_argument("--probe-after", type=float)
    parser.add_argument("--attempts-bound", type=float)
    parser.add_argument("--look-every", type=float)
    parser.add_argument("--stuck", action="store_true")
    parser.add_argument("--mime", type=float)
    parser.add_argument("--one-signal", type=float)
    parser.add_argument("--linger", type=float)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    if options.probe_after is not None:
        retry.FIRST_PROBE = options.probe_after
    if options.attempts_bound is not None:
        relay.ATTEMPTS_BOUND = options.attempts_bound
    if options.look_every is not None:
        heartbeat.CHECK_EVERY = options.look_every
    if options.mime is not None:
        wrap_capture(options.mime)
    if options.one_signal is not None:
        signals._ONE = options.one_signal
    if options.linger is not None:
        protocol.LINGER = options.linger
    if options.stuck:
        Acs.deliver = never
    if options.die or options.freeze:
        point, _, count = (options.die or options.freeze).partition(":")
        if point not in POSTGRES_POINTS:
            parser.error(f"no such point: {point}")
        fate = Fate(point, int(count), signal.SIGKILL if options.die else signal.SIGSTOP)
        wrap_transactions(fate)
        wrap_provider(fate)
    return main(options.command)


if __name__ == "__main__":
    sys.exit(wrapped(sys.argv[1:]))
