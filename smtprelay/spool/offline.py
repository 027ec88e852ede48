"""
The spool without a daemon: what the CLI does when nobody answers on the control socket.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock; what changing
takes its :class:`smtprelay.spool.ground.Ground` knows.
"""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from smtprelay.spool.connection import Connection
from smtprelay.spool.ground import Ground
from smtprelay.spool.memory import InlineReader
from smtprelay.spool.store import QueueSpool
from smtprelay.spool.terms import Terms
from smtprelay.spool.writer import Operation

T = TypeVar("T")


class OfflineSpool:
    """
    A spool that is looked at and changed directly, until it is closed.

    It raises what its :class:`smtprelay.spool.ground.Ground` does: ``SpoolBusy`` for a change while a daemon
    has it. :func:`now` gives the results of its coroutines.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connection: Connection | None = None

    def looking(self) -> QueueSpool:
        """Return the spool, to be looked at."""
        return QueueSpool(_NoWriter(), self._reader(), Terms(paces={}, events=_silence))

    @contextmanager
    def changing(self) -> Iterator[QueueSpool]:
        """Give the spool, to be changed."""
        with self._ground.writing() as writer:
            yield QueueSpool(writer, self._reader(), Terms(paces={}, events=_silence))

    def close(self) -> None:
        """Let go of the spool."""
        if self._connection is not None:
            self._ground.leave(self._connection)

    def _reader(self) -> InlineReader:
        if self._connection is None:
            self._connection = self._ground.reading()
        return InlineReader(self._connection)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nobody, or raise what it raises."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    return results[0]


def _silence(_event: str, /, **_fields: object) -> None:
    """Nobody listens."""


class _NoWriter:
    """Of a spool that is only looked at."""

    def do(self, operation: Operation[T]) -> Deferred[T]:
        raise AssertionError(f"{operation}: the spool is not open for changes")

    def close(self) -> Deferred[None]:
        raise AssertionError("nothing was opened")
