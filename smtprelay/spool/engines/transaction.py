"""
What the queue operations need of a database: ``execute``, and a transaction around them.

:class:`Transaction` is the unit of a group commit. It holds back inserts, to write
the rows of many messages with one statement, and keeps the lanes that it
touched in memory, to write each of them once. Both matter more than they look:
each statement lets go of the interpreter lock and must win it back from the reactor.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Final, Protocol

from attrs import Factory, define, field, frozen

from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.route import RateLimit
from smtprelay.spool.operations.exclusive import ExclusiveAttempt
from smtprelay.spool.tables.hold_rules import HoldRules
from smtprelay.spool.tables.lanes import LaneTable

#: The columns that are written for a new row of each table.
COLUMNS: Final = {
    "message": "id, sender, parameters, client, received, size, subject, message_id, bounce_of, author,"
    " eight_bit, long_lines",
    "chunk": "message, n, content",
    "delivery": "message, n, generation, route, lane, state, due, attempt, tries, errors, uncertain, node,"
    " slot, lease, blocked_before, reason",
    "credential": "message, n, key_id, sealed",
    "recipient": "message, n, position, address, notify, orcpt, state, reason, provider_id",
    "attempt": "message, n, number, provider, node, started, ended, outcome, reason",
}

#: Rows in one INSERT at most. Each number of rows is a statement of its own, which the engine keeps prepared.
MOST_ROWS: Final = 32


class SpoolFault(SpoolUnavailable):
    """
    The database failed: nothing of what was asked has happened.

    :ivar full: because there is no room; it will pass when there is.
    :ivar broken: the connection is not to be trusted any more: another one must be opened.
    """

    def __init__(self, why: str, *, full: bool = False, broken: bool = False) -> None:
        super().__init__(why)
        self.full = full
        self.broken = broken


class SpoolAway(SpoolFault):
    """The database cannot be reached; it may come by itself."""


class RetryTransaction(Exception):  # noqa: N818 -- what to do
    """Another node was in the way, and nothing of the transaction has happened: run it again."""


@frozen
class Locking:
    """
    What the SELECTs end with to lock rows, where several nodes write.

    :ivar row: waits for the lock of a row; ``free_row`` skips rows that are locked.
    :ivar delivery: the same for the delivery, in a statement where that is ``d``; and ``free_delivery``.
    """

    row: str = ""
    free_row: str = ""
    delivery: str = ""
    free_delivery: str = ""


@frozen(kw_only=True, eq=False)
class SpoolNode:
    """
    One process that works with the spool: what holds for all its transactions.

    :ivar rate_limits: how fast each configured provider may be asked, by its name; only the thread that
        writes adds and removes any.
    :ivar name: under which it claims; with the lock held there is one only, before and after a crash.
    :ivar lease: how long a claim holds without being renewed, seconds.
    :ivar keeps_bodies: bodies outlive their delivery, until they are swept.
    :ivar locking: what keeps other nodes away from the rows that are read to be changed.
    :ivar exclusive: whether a delivery is tried alone on it, so that nothing else begins.
    """

    rate_limits: dict[str, RateLimit]
    name: str = "local"
    lease: float = 60.0
    keeps_bodies: bool = False
    locking: Locking = Locking()
    exclusive: ExclusiveAttempt = field(factory=ExclusiveAttempt, init=False)


class Cursor(Protocol):
    """The part of PEP 249's cursor that works in a pipeline, too: its ``rowcount`` is unknown there."""

    def fetchone(self) -> Any:
        """Return the next row or ``None``."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""


class Connection(Protocol):
    """A database connection that takes ``?`` parameters; :class:`sqlite3.Connection` is one."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""


class ReadingConnection(Connection, Protocol):
    """A connection that questions are asked on."""

    def close(self) -> object:
        """Close it."""


class WritingConnection(Connection, Protocol):
    """A connection that transactions are made on."""

    def run(self, sql: str, parameters: Sequence[Any] = (), /) -> object:
        """Run one statement that gives nothing back."""


@define(eq=False)
class Transaction:
    """
    One transaction: a connection, who we are, and the time.

    :ivar connection: what runs on it directly comes before the inserts that are held back, and is about
        rows of earlier transactions. So the inserts of all operations of a group stay together.
    :ivar lanes: begun at ``now``.
    :ivar now: seconds since the epoch, the same for the whole transaction.
    :ivar back: when the database was there again after it had been away, seconds since the epoch.
    :ivar hold_rules: the rules that hold mail, read when they are first asked for.
    """

    connection: WritingConnection
    node: SpoolNode
    lanes: LaneTable
    now: float
    back: float = -math.inf
    hold_rules: HoldRules = Factory(lambda self: HoldRules(self.connection), takes_self=True)
    _rows: dict[str, list[Sequence[Any]]] = field(factory=partial(defaultdict, list), init=False)

    def insert(self, table: str, row: Sequence[Any]) -> None:
        """Add a row to ``table``, at the latest when the transaction ends."""
        self._rows[table].append(row)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run one statement; it sees all that was inserted before."""
        self._write_rows()
        return self.connection.execute(sql, parameters)

    def finish(self) -> None:
        """Write what was held back. The caller commits."""
        self._write_rows()
        self.lanes.write()

    def _write_rows(self) -> None:
        for table, rows in self._rows.items():
            for start in range(0, len(rows), MOST_ROWS):
                batch = rows[start : start + MOST_ROWS]
                self.connection.run(_insertion(table, len(batch)), [value for row in batch for value in row])
        self._rows.clear()


@cache
def _insertion(table: str, rows: int) -> str:
    columns = COLUMNS[table]
    marks = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([marks] * rows)}"  # noqa: S608 -- constants
