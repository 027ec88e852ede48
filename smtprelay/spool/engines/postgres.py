"""
The engine for several nodes: PostgreSQL, or what speaks its protocol.

The database's clock rules. A node is a process with a name of its own; its claims are
leases, which others take back when it is gone. The own lane of a provider is locked by
whoever claims, accepts or settles for it, so that rates, slots and blocks apply to all
nodes together. A commit whose answer was lost is looked up: each group leaves a mark.
"""

import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field
from psycopg import Error, NotSupportedError
from psycopg.errors import UndefinedFunction

from smtprelay.model.queue_admin import Space
from smtprelay.spool.engines import postgres_size
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.postgres_clock import DatabaseClock
from smtprelay.spool.engines.postgres_connection import (
    PostgresConnection,
    UrlSource,
    explained,
    is_broken,
    is_ours,
)
from smtprelay.spool.engines.postgres_listen import NotificationListener
from smtprelay.spool.engines.reader import ThreadReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.transaction import (
    Connection,
    Locking,
    RetryTransaction,
    SpoolAway,
    SpoolFault,
    SpoolNode,
    Transaction,
)
from smtprelay.spool.engines.writer import ThreadWriter
from smtprelay.spool.receive.capacity import DiskSpace
from smtprelay.spool.spool import QueueSpool
from smtprelay.spool.tables.lanes import LaneTable
from smtprelay.spool.tables.schema import POSTGRES_TYPES, migrate

#: What tells the other nodes that something is due.
CHANNEL: Final = "smtprelay"

#: For how long it is tried to find out whether a commit has happened, seconds.
_PATIENCE: Final = 20.0

#: Providers that were needed so recently are locked when a transaction begins, seconds.
_RECENT: Final = 10.0

#: How often it is looked whether the session is our own, seconds: a pool that changes it may do so seldom.
_CHECKED: Final = 5.0

#: A node asks for something every half lease; a claim that is renewed runs out after two thirds of one.
_SILENCE: Final = 0.6

#: Any number; migrations of all nodes take turns at it.
_MIGRATING: Final = 7_366_720_025

_ROW_LOCKS: Final = Locking(
    row=" FOR UPDATE",
    free_row=" FOR UPDATE SKIP LOCKED",
    delivery=" FOR UPDATE OF d",
    free_delivery=" FOR UPDATE OF d SKIP LOCKED",
)

#: Of a transaction its mark, and its time. It is marked before anything is changed: should the connection
#: break, who asks for it waits until the server is done with the transaction, however late it is with that.
_MARK: Final = """
    INSERT INTO node (name, mark, seen) VALUES (?, ?, {clock})
    ON CONFLICT (name) DO UPDATE SET mark = excluded.mark, seen = excluded.seen RETURNING seen"""


def database_clock() -> str:
    """Return what the database's time is in SQL, seconds since the epoch."""
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def new_node(node: SpoolNode) -> SpoolNode:
    """Return ``node`` as one of several, with a name that no other process has, nor had before."""
    name = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(3)}"
    return evolve(node, name=name, locking=_ROW_LOCKS)


@define(kw_only=True)
class PostgresEngine(Engine):
    """
    The engine of one node: opens connections, runs transactions, and reports space.

    :ivar url: gives the connection string; asked for each time, for a password may change.
    :ivar node: this process among those that share the spool.
    :ivar time: gives what the time of a transaction is in SQL.
    :ivar clock: set to the database's time at each answer, on the thread that writes.
    :ivar tables: creates or checks the tables in the first transaction; raises ``SpoolFault`` if they cannot
        be used.
    :ivar plenty: below this size in bytes the used part is not estimated.
    :ivar refuse_waiting: called on the thread that writes, with the reason, when a commit's answer was lost
        and is looked for long: what waits behind it shall wait no longer.
    """

    url: UrlSource
    node: SpoolNode
    time: Callable[[], str] = database_clock
    clock: DatabaseClock | None = None
    tables: Callable[[Connection, str], object] = field(default=partial(migrate, types=POSTGRES_TYPES))
    plenty: float = math.inf
    refuse_waiting: Callable[[str], object] = field(default=lambda _: None, init=False)
    _listener: NotificationListener | None = field(default=None, init=False)
    _notifying: bool = field(default=False, init=False)
    _groups: int = field(default=0, init=False)
    #: When the database answered last, and when it last answered after a long silence.
    _last_answer: float = field(default=math.inf, init=False)
    _back: float = field(default=-math.inf, init=False)
    _recent: dict[str, float] = field(factory=dict, init=False)
    _checked: float = field(default=-math.inf, init=False)

    def connect(self) -> PostgresConnection:
        """
        Connect, and have the tables brought up to date; one node at a time does that.

        :raises SpoolAway: the database cannot be reached.
        :raises SpoolFault: it cannot be used, or a newer version wrote it.
        """
        connection = PostgresConnection(self.url)  # a migration takes as long as it takes
        try:
            try:
                self._create_tables(connection, "SELECT pg_advisory_xact_lock(?)", (_MIGRATING,))
            except (UndefinedFunction, NotSupportedError):
                # Not all that speak the protocol have it. Of two that make the same table one fails, then.
                connection.close()
                self._create_tables(connection, "SELECT 1")
            self._notifying = _can_notify(connection)
            return self._session()
        except (Error, ValueError) as error:
            raise (SpoolAway if connection.lost else SpoolFault)(explained(error)) from error
        finally:
            connection.close()

    def _session(self) -> PostgresConnection:
        """Return the connection that writes, once it is certain that a pooler keeps its session."""
        connection = PostgresConnection(self.url, bound=max(1.0, self.node.lease / 6))
        other = self.reading()
        try:
            for each in (connection, other):
                each.execute("SELECT 1")
            connection.check_session()
        except (Error, SpoolFault):
            connection.close()
            raise
        finally:
            other.close()
        return connection

    def reading(self) -> PostgresConnection:
        """Return a connection that cannot write; it connects when it is asked."""
        return PostgresConnection(self.url, reading=True)

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[Transaction]:
        assert isinstance(connection, PostgresConnection)
        self._groups += 1
        mark, committing = str(self._groups), False
        try:
            with connection.pipeline():
                transaction = self._begin(connection, mark)
                yield transaction
                self._finish(transaction)
                committing = True
                connection.execute("COMMIT")
        except Error as error:
            broken = connection.lost or is_broken(error)
            connection.close()
            if broken:
                if committing and self._has_happened(connection, mark):
                    return
                raise RetryTransaction from error
            if is_ours(error):
                raise
            raise _fault(error) from error
        except Exception:
            connection.close()
            raise

    def disconnect(self, connection: Connection) -> None:
        """Leave: other nodes need not wait for this one any more."""
        assert isinstance(connection, PostgresConnection)
        # If that fails, the others see that it sends nothing any more.
        with suppress(Error, SpoolFault):
            connection.execute("DELETE FROM node WHERE name = ?", (self.node.name,))
        connection.close()

    measure = staticmethod(postgres_size.measure)

    def listen(self, wake: Callable[[], object]) -> None:
        """Call ``wake``, on a thread of ours, when another node has queued mail."""
        self._listener = NotificationListener(self.url, CHANNEL, self.node.name, wake)
        self._listener.start()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.stop()

    def disk(self, connection: Connection) -> DiskSpace:
        return DiskSpace(used=postgres_size.used(connection, self.plenty) or 0)

    def space(self, connection: Connection) -> Space:
        """Return how much room the spool takes; what could be freed is unknown."""
        return Space(used=postgres_size.used(connection, self.plenty))

    def _create_tables(self, connection: Connection, lock: str, parameters: Sequence[Any] = ()) -> None:
        """Create or migrate the tables in one transaction; ``lock`` locks out every other one meanwhile."""
        connection.execute("BEGIN")
        connection.execute(lock, parameters)
        self.tables(connection, self.time())
        connection.execute("COMMIT")

    def _begin(self, connection: PostgresConnection, mark: str) -> Transaction:
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        if time.monotonic() > self._checked + _CHECKED:
            connection.check_session()
            self._checked = time.monotonic()
        lanes = LaneTable(connection, self.node.rate_limits, self.node.locking.row)
        wanted = lanes.ask(list(self._recent))
        marked = connection.execute(_MARK.format(clock=self.time()), (self.node.name, mark))
        (now,) = marked.fetchone() or (0.0,)
        if self.clock is not None:
            self.clock.learn(now)
        if now > self._last_answer + _SILENCE * self.node.lease:
            self._back = now
        self._last_answer = now
        lanes.begin(now)
        lanes.keep(wanted)
        return Transaction(connection, self.node, lanes, now, self._back)

    def _finish(self, tx: Transaction) -> None:
        tx.finish()
        touched = tx.lanes.touched
        self._recent.update((lane.provider, tx.now) for lane in touched)
        self._recent = {name: when for name, when in self._recent.items() if when >= tx.now - _RECENT}
        if self._notifying and any(map(tx.lanes.is_ready, touched)):
            tx.execute("SELECT pg_notify(?, ?)", (CHANNEL, self.node.name))

    def _has_happened(self, connection: PostgresConnection, mark: str) -> bool:
        """
        Tell whether the group with ``mark`` was committed: its connection was lost meanwhile.

        :raises SpoolFault: it is not known.
        """
        begun = time.monotonic()
        while True:
            try:
                # The lock waits for the end of the transaction, should the server still be at it.
                row = connection.execute(
                    "SELECT mark FROM node WHERE name = ? FOR UPDATE", (self.node.name,)
                ).fetchone()
            except (Error, SpoolFault) as error:
                connection.close()
                why = f"it is not known whether the last commit happened: {explained(error)}"
                if time.monotonic() > begun + _PATIENCE:
                    raise SpoolFault(why) from error
                if time.monotonic() > begun + _NOT_LONG:
                    self.refuse_waiting(why)
                time.sleep(_BETWEEN)
            else:
                return row is not None and row[0] == mark


#: How long others wait for what became of a commit, seconds.
_NOT_LONG: Final = 5.0

#: Between two questions to a database that does not answer, seconds.
_BETWEEN: Final = 0.3

#: Insufficient resources: disk full.
_FULL: Final = "53100"

#: serialization_failure, deadlock_detected, lock_not_available.
_IN_THE_WAY: Final = ("40001", "40P01", "55P03")


def _fault(error: Error) -> Exception:
    """Return what an error that is not the operation's own means."""
    if error.sqlstate in _IN_THE_WAY:
        return RetryTransaction(explained(error))
    return SpoolFault(explained(error), full=error.sqlstate == _FULL)


def _can_notify(connection: PostgresConnection) -> bool:
    """Tell whether the database has NOTIFY; not all that speak the protocol do."""
    try:
        connection.execute("SELECT pg_notify(?, '')", (CHANNEL,))
    except Error:
        return False
    return True


async def open_postgres(
    url: UrlSource,
    options: SpoolOptions,
    *,
    reactor: Any,
    clock: Callable[[], str] = database_clock,
    listening: bool = True,
) -> QueueSpool:
    """
    Open the spool in the database at ``url``; its tables are made if they are missing.

    :param url: gives a connection string of libpq, as URL or as ``key=value`` pairs.
    :param options: its ``floors`` do not mind the disk: what it has to spare is for those who run it to know.
    :param reactor: to which results come back.
    :param clock: gives what the time is in SQL: the database's, unless a test has one.
    :param listening: tell at once what other nodes have put into the spool.
    :raises SpoolAway: the database cannot be reached.
    :raises SpoolFault: it cannot be used.
    """
    engine = PostgresEngine(
        url=url,
        node=new_node(options.node),
        time=clock,
        clock=DatabaseClock(reactor),
        plenty=options.floors.bytes / 2,
    )
    writer = ThreadWriter(engine, reactor, options.events, "spool-writer")
    engine.refuse_waiting = writer.refuse_waiting
    try:
        await writer.start()
    except Exception:
        await writer.abandon()
        raise
    spool = QueueSpool(writer, ThreadReader(engine, reactor, threads=2), options, engine)
    if listening:
        engine.listen(partial(reactor.callFromThread, spool.wake))
    return spool
