"""
The spool without a daemon: what the CLI opens when nobody answers on the control socket.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock; what changing
takes its :class:`smtprelay.spool.location.SpoolLocation` knows.
"""

import sqlite3
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute

from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.options import SpoolOptions
from smtprelay.spool.engines.transaction import Connection, SpoolFault, Transaction
from smtprelay.spool.engines.writer import Operation, Writer
from smtprelay.spool.location import SpoolLocation
from smtprelay.spool.maintenance.check import snapshot
from smtprelay.spool.spool import QueueSpool
from smtprelay.spool.tables.lanes import LaneTable
from smtprelay.telemetry.log import Fanout

T = TypeVar("T")


class OfflineSpool:
    """
    A spool that is opened directly; raises what its :class:`.location.SpoolLocation` does.

    :param keep: open it for changes now, and until :meth:`close`: nobody else changes it meanwhile.
    :param new: so, and make it if there is none.
    """

    def __init__(self, location: SpoolLocation, *, keep: bool = False, new: bool = False) -> None:
        self._location = location
        self._connection: Connection | None = None
        self._open = ExitStack()
        self._kept: QueueSpool | None = None
        if new:
            self._kept = self._spool(self._open.enter_context(location.writing(new=True)))
        elif keep:
            self._kept = self._spool(self._writer(self._open))

    @contextmanager
    def opened(self, *, changing: bool) -> Iterator[QueueSpool]:
        """Give the spool; one that is only looked at may be used until :meth:`close`."""
        with ExitStack() as open_:
            if self._kept is not None:
                yield self._kept
            elif changing:
                yield self._spool(self._writer(open_))
            else:
                why = AssertionError("the spool is not open for changes")
                yield self._spool(_ReadingWriter(self._reading(), why))

    def close(self) -> None:
        """Let go of the spool."""
        self._open.close()

    def _spool(self, writer: Writer) -> QueueSpool:
        options = SpoolOptions(paces={}, events=Fanout(()))
        return QueueSpool(writer, InlineReader(self._reading()), options, self._location.engine)

    def _writer(self, open_: ExitStack) -> Writer:
        """Return what changes the spool; where that cannot be opened, what can still be looked at."""
        try:
            return open_.enter_context(self._location.writing())
        except (OSError, SpoolFault) as error:
            return _ReadingWriter(self._reading(), error)

    def _reading(self) -> Connection:
        if self._connection is None:
            self._connection = self._open.enter_context(self._location.reading())
        return self._connection


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nobody, or raise what it raises."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    return results[0]


class _ReadingWriter:
    """
    Runs the operations that change nothing, as a copy into an archive does.

    :param why: what an operation fails with that would change something.
    """

    def __init__(self, connection: Any, why: Exception) -> None:
        self._connection = connection
        self._why = why

    def do(self, operation: Operation[T]) -> Deferred[T]:
        """Run ``operation``; the Deferred fires with its result after the commit."""
        return execute(self._run, operation)

    def close(self) -> Deferred[None]:
        """Run what waits, then let go of the database."""
        raise AssertionError("nothing was opened")

    def _run(self, operation: Operation[T]) -> T:
        lanes = LaneTable(self._connection.execute, run=self._connection.run)
        lanes.begin(time.time())
        tx = Transaction(self._connection, lanes, now=time.time(), node="", paces={}, lease=0.0)
        with snapshot(self._connection):
            try:
                result = operation(tx)
                tx.finish()
            except (sqlite3.Error, SpoolFault) as error:
                if "readonly" in str(error) or "read-only" in str(error):
                    raise self._why from error
                raise
        return result
