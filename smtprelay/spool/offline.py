"""
The spool without a daemon: what the CLI does when nobody answers on the control socket.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock; what changing
takes its :class:`smtprelay.spool.ground.Ground` knows.
"""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.operating import Edited, Found, HoldRule, Prepare
from smtprelay.queue import Detail, Edit, LaneState, Selection
from smtprelay.spool.connection import Connection
from smtprelay.spool.ground import Ground
from smtprelay.spool.memory import InlineReader
from smtprelay.spool.store import QueueSpool
from smtprelay.spool.terms import Terms
from smtprelay.spool.writer import Operation

T = TypeVar("T")

#: Makes what prepares a change, for the spool that is open for it.
Preparing = Callable[[QueueSpool], Prepare]


class OfflineSpool:
    """
    A spool that is asked and changed directly; see :class:`smtprelay.interfaces.Spool`.

    Each method raises what its :class:`smtprelay.spool.ground.Ground` does.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connection: Connection | None = None

    def search(self, selection: Selection, mark: str = "") -> Found:
        """Return what matches."""
        return now(self._read().search(selection, mark))

    def show(self, message: str) -> Sequence[Detail]:
        """Return all that is known of one message's deliveries, or raise ``LookupError``."""
        return now(self._read().show(message))

    def lanes(self) -> Sequence[LaneState]:
        """Return all lanes."""
        return now(self._read().stock()).lanes

    def holds(self) -> Sequence[HoldRule]:
        """Return the rules that hold mail."""
        return now(self._read().holds())

    def chunks(self, message: str) -> Iterator[bytes]:
        """Give the stored body of a message in pieces, or raise ``LookupError``."""
        chunks = now(self._read().raw(message)).chunks()
        while piece := now(_next(chunks)):
            yield piece

    def edit(
        self, selection: Selection, change: Edit, mark: str = "", preparing: Preparing | None = None
    ) -> Edited:
        """
        Do one step of ``change``.

        :raises SpoolBusy: a daemon has the spool: ask it instead.
        :raises LookupError: an id is unknown or ambiguous.
        :raises ValueError: nothing is selected, or there is no such action.
        """
        with self._changing() as spool:
            prepare = None if preparing is None else preparing(spool)
            return now(spool.edit(selection, change, mark, prepare))

    def hold(self, rule: HoldRule) -> HoldRule:
        """Put a rule in force and hold what waits; raises ``SpoolBusy``."""
        with self._changing() as spool:
            made = now(spool.hold(rule))
            _tend(spool)
        return made

    def unhold(self, number: int, who: str) -> HoldRule:
        """End a rule and release what it held; raises ``SpoolBusy`` and ``LookupError``."""
        with self._changing() as spool:
            ended = now(spool.unhold(number, who))
            _tend(spool)
        return ended

    def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return what clients were refused."""
        return now(self._read().refusals.refused(wanted))

    def clear_refused(self, wanted: RefusalFilter) -> int:
        """Forget such rows; raises ``SpoolBusy``."""
        with self._changing() as spool:
            return now(spool.refusals.clear(wanted))

    def close(self) -> None:
        """Let go of the spool."""
        if self._connection is not None:
            self._ground.leave(self._connection)

    def _read(self) -> QueueSpool:
        return QueueSpool(_NoWriter(), self._reader(), Terms(paces={}, events=_silence))

    def _reader(self) -> InlineReader:
        if self._connection is None:
            self._connection = self._ground.reading()
        return InlineReader(self._connection)

    @contextmanager
    def _changing(self) -> Iterator[QueueSpool]:
        with self._ground.writing() as writer:
            yield QueueSpool(writer, self._reader(), Terms(paces={}, events=_silence))


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nobody, or raise what it raises."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    return results[0]


def _tend(spool: QueueSpool) -> None:
    """Carry out the rules; what they ask for later the relay does."""
    while now(spool.tend()) == 0.0:
        pass


async def _next(chunks: Any) -> bytes:
    return bytes(await anext(chunks, b""))


def _silence(_event: str, /, **_fields: object) -> None:
    """Nobody listens."""


class _NoWriter:
    """Of a spool that is only looked at."""

    def do(self, operation: Operation[T]) -> Deferred[T]:
        raise AssertionError(f"{operation}: the spool is not open for changes")

    def close(self) -> Deferred[None]:
        raise AssertionError("nothing was opened")
