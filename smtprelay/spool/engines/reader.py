"""
Runs queries on separate threads, so they do not delay delivery.
"""

from collections.abc import Callable
from threading import local
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.transaction import Connection, ReadingConnection, SpoolFault

T = TypeVar("T")


class Reader(Protocol):
    """Runs queries on committed data."""

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """Ask ``question``; it fails with what the question raised."""

    def close(self) -> Deferred[None]:
        """Let go of the database."""


class ThreadReader:
    """
    Asks on threads of its own.

    Each thread has a connection, opened when it is needed. After a fault that broke the connection the next
    question opens another one.
    """

    def __init__(self, engine: Engine, reactor: Any, threads: int = 1) -> None:
        self._engine = engine
        self._reactor = reactor
        self._mine = local()
        self._open: list[ReadingConnection] = []
        self._pool = ThreadPool(0, threads, "spool-reader")
        self._pool.start()

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """Ask on a thread; when it is closed, nothing more is asked."""
        if self._pool.joined:
            # The pool would drop the query without an answer.
            return fail(SpoolFault("the spool is closed"))
        return deferToThreadPool(self._reactor, self._pool, self._ask, question)

    def close(self) -> Deferred[None]:
        """Ask nothing more; what was asked is still answered."""
        self._pool.stop()
        for connection in self._open:
            connection.close()
        return succeed(None)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        connection: ReadingConnection | None = getattr(self._mine, "connection", None)
        try:
            if connection is None:
                connection = self._mine.connection = self._engine.reading()
                self._open.append(connection)
            return question(connection)
        except Exception as error:
            fault = self._engine.fault(error)
            if fault is None:
                raise
            if fault.broken and connection is not None:
                self._mine.connection = None
                self._open.remove(connection)
                connection.close()
            raise fault from error
