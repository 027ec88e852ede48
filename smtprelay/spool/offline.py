"""
The spool without a daemon: what the CLI opens when nobody answers on the control socket.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock; what changing
takes its :class:`smtprelay.spool.location.SpoolLocation` knows.
"""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.options import SpoolOptions
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.engines.writer import Operation, Writer
from smtprelay.spool.location import SpoolLocation
from smtprelay.spool.spool import QueueSpool
from smtprelay.telemetry.log import Fanout

T = TypeVar("T")


class OfflineSpool:
    """A spool that is opened directly; raises what its :class:`.location.SpoolLocation` does."""

    def __init__(self, location: SpoolLocation) -> None:
        self._location = location
        self._connection: Connection | None = None

    @contextmanager
    def opened(self, *, changing: bool) -> Iterator[QueueSpool]:
        """Give the spool; one that is only looked at may be used until :meth:`close`."""
        if not changing:
            yield self._spool(_NoWriter())
            return
        with self._location.writing() as writer:
            yield self._spool(writer)

    def _spool(self, writer: Writer) -> QueueSpool:
        if self._connection is None:
            self._connection = self._location.reading()
        return QueueSpool(writer, InlineReader(self._connection), SpoolOptions(paces={}, events=Fanout(())))

    def close(self) -> None:
        """Let go of the spool."""
        if self._connection is not None:
            self._location.leave(self._connection)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nobody, or raise what it raises."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    return results[0]


class _NoWriter:
    """Of a spool that is only looked at."""

    def do(self, operation: Operation[T]) -> Deferred[T]:
        raise AssertionError(f"{operation}: the spool is not open for changes")

    def close(self) -> Deferred[None]:
        raise AssertionError("nothing was opened")
