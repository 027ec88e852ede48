"""
A spool in memory, lost when the process ends.

It has the same tables and operations, in a SQLite database in memory, and uses no threads. It serves tests,
and relays that are configured so.
"""

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IReactorTime

from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.engines.writer import InlineWriter
from smtprelay.spool.spool import QueueSpool

T = TypeVar("T")


@frozen
class InlineReader:
    """Asks at once, on the caller's thread."""

    _connection: Connection

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """Ask at once; the Deferred has fired already."""
        return execute(question, self._connection)

    def close(self) -> Deferred[None]:
        """Do nothing: the writer closes the connection."""
        return succeed(None)


def open_memory(options: SpoolOptions, *, clock: IReactorTime) -> QueueSpool:
    """Return an empty spool in memory; all its coroutines finish without waiting."""
    engine = SqliteEngine(database=":memory:", node=options.node, seconds=clock.seconds)
    writer = InlineWriter(engine)
    return QueueSpool(writer, InlineReader(writer.connection), options, engine)
