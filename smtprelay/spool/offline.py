"""
The spool without a daemon: what the CLI does when nobody answers on the control socket.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock. Changing takes
the node's lock for as long as the spool is open for it, so that it can never happen behind a
running daemon's back.
"""

import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from smtprelay.operating import Edited, Found, HoldRule, Prepare
from smtprelay.queue import Detail, Edit, LaneState, Selection
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.memory import InlineReader
from smtprelay.spool.sqlite import DATABASE, SqliteEngine, connect_reader
from smtprelay.spool.store import QueueSpool
from smtprelay.spool.writer import InlineWriter, Operation

T = TypeVar("T")

#: Makes what prepares a change, for the spool that is open for it.
Preparing = Callable[[QueueSpool], Prepare]


class OfflineSpool:
    """A spool on disk that is asked and changed directly; see :class:`smtprelay.interfaces.Spool`."""

    def __init__(self, path: str) -> None:
        self._folder = Path(path)
        self._database = self._folder / DATABASE
        if not self._database.exists():
            raise FileNotFoundError(f"there is no spool in {path}")
        self._connection = connect_reader(self._database)
        self._spool = QueueSpool(_NoWriter(), InlineReader(self._connection), {}, _silence)

    def search(self, selection: Selection, mark: str = "") -> Found:
        """Return what matches."""
        return now(self._spool.search(selection, mark))

    def show(self, message: str) -> Sequence[Detail]:
        """Return all that is known of one message's deliveries, or raise ``LookupError``."""
        return now(self._spool.show(message))

    def lanes(self) -> Sequence[LaneState]:
        """Return all lanes."""
        return now(self._spool.stock()).lanes

    def holds(self) -> Sequence[HoldRule]:
        """Return the rules that hold mail."""
        return now(self._spool.holds())

    def chunks(self, message: str) -> Iterator[bytes]:
        """Give the stored body of a message in pieces, or raise ``LookupError``."""
        chunks = now(self._spool.raw(message)).chunks()
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

    def close(self) -> None:
        """Let go of the spool."""
        self._connection.close()

    @contextmanager
    def _changing(self) -> Iterator[QueueSpool]:
        lock = SpoolLock(self._folder)
        try:
            engine = SqliteEngine(database=str(self._database), paces={}, lease=60.0, seconds=time.time)
            writer = InlineWriter(engine)
            assert isinstance(writer.connection, sqlite3.Connection)
            spool = QueueSpool(writer, InlineReader(writer.connection), {}, _silence)
            try:
                yield spool
            finally:
                now(spool.close())
        finally:
            lock.release()


def open_spool(path: str) -> OfflineSpool:
    """
    Open the spool in the folder ``path``.

    :raises FileNotFoundError: there is none.
    :raises OSError: it cannot be opened.
    """
    return OfflineSpool(path)


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
