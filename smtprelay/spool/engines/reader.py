"""
Runs queries on separate threads, so they do not delay delivery.
"""

from collections.abc import Callable
from threading import local
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from smtprelay.spool.engines.transaction import Connection, SpoolFault

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

    :param connect: opens a connection that cannot write; each thread has one, opened when it is needed.
    :param disconnect: closes one.
    :param fault: says what an error means for the database; ``None``: it is the question's own. After a
        fault that broke the connection the next question opens another one.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        disconnect: Callable[[Any], object],
        reactor: Any,
        threads: int = 1,
        fault: Callable[[Exception], SpoolFault | None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._reactor = reactor
        self._fault = fault
        self._mine = local()
        self._open: list[Connection] = []
        self._pool = ThreadPool(0, threads, "spool-reader")
        self._pool.start()

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """Ask on a thread; when it is closed, nothing more is asked."""
        if self._pool.joined:
            # The pool would drop the question, and nobody would ever hear of it.
            return fail(SpoolFault("the spool is closed"))
        return deferToThreadPool(self._reactor, self._pool, self._ask, question)

    def close(self) -> Deferred[None]:
        """Ask nothing more; what was asked is still answered."""
        self._pool.stop()
        for connection in self._open:
            self._disconnect(connection)
        return succeed(None)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._mine, "connection", None)
        try:
            if connection is None:
                connection = self._mine.connection = self._connect()
                self._open.append(connection)
            return question(connection)
        except Exception as error:
            fault = self._fault(error)
            if fault is None:
                raise
            if fault.broken and connection is not None:
                self._mine.connection = None
                self._open.remove(connection)
                self._disconnect(connection)
            raise fault from error
