"""
The spool that forgets: the same tables and operations, in SQLite's memory.

For tests, where nothing may depend on threads, and for those who ask for it: mail
that was accepted is lost when the process ends.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IReactorTime

from smtprelay.budget import Budget
from smtprelay.interfaces import Events
from smtprelay.message import Pace
from smtprelay.spool.admission import Floors
from smtprelay.spool.connection import Connection
from smtprelay.spool.sqlite import FILES, SqliteEngine, space
from smtprelay.spool.store import QueueSpool
from smtprelay.spool.writer import InlineWriter

T = TypeVar("T")


class InlineReader:
    """Asks at once, on the caller's thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def do(self, question: Callable[[Connection], T]) -> Deferred[T]:
        """See :meth:`smtprelay.spool.store.Reader.do`; the Deferred has fired already."""
        return execute(question, self._connection)

    def close(self) -> Deferred[None]:
        """Nothing to let go of: the connection is the writer's."""
        return succeed(None)


def open_memory(
    *,
    clock: IReactorTime,
    paces: Mapping[str, Pace],
    events: Events,
    lease: float = 60.0,
    floors: Floors | None = None,
    budget: Budget | None = None,
    keeps_bodies: bool = False,
) -> QueueSpool:
    """Return an empty spool in memory; all its coroutines finish without waiting."""
    engine = SqliteEngine(
        database=":memory:", paces=paces, lease=lease, seconds=clock.seconds, keeps_bodies=keeps_bodies
    )
    writer = InlineWriter(engine)
    return QueueSpool(
        writer,
        InlineReader(writer.connection),
        paces,
        events,
        space=lambda connection: space(connection, None),
        files=FILES,
        floors=floors,
        budget=budget,
    )
