"""
The embedded engine: SQLite, one process, one connection that writes.

``synchronous=FULL`` with a write-ahead log makes one sync of one file per commit;
that sync is the promise behind every 250. Reading has a connection and a thread of
its own, and never waits for the writer.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from smtprelay.interfaces import Events
from smtprelay.message import Pace
from smtprelay.spool.connection import Connection, SpoolFault, Transaction
from smtprelay.spool.lanes import Lanes
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.reader import ThreadReader
from smtprelay.spool.schema import SQLITE_TYPES, migrate
from smtprelay.spool.store import QueueSpool
from smtprelay.spool.writer import ThreadWriter

#: The database within the spool's folder.
DATABASE: Final = "spool.db"

#: The node's name: with the lock held there is one node only, before and after a crash.
NODE: Final = "local"


@define(kw_only=True)
class SqliteEngine:
    """
    See :class:`smtprelay.spool.writer.Engine`.

    :ivar database: the file, or ``":memory:"``.
    :ivar seconds: gives the time, on any thread.
    """

    database: str
    paces: Mapping[str, Pace]
    lease: float
    seconds: Callable[[], float]
    #: This process alone writes, so that what it knows of the lanes stays true.
    _lanes: Lanes | None = field(default=None, init=False)

    def connect(self) -> sqlite3.Connection:
        """
        Open the database and bring its tables up to date.

        :raises SpoolFault: it cannot be opened, or a newer version wrote it.
        """
        try:
            connection = sqlite3.connect(
                self.database, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            migrate(connection, SQLITE_TYPES)
            connection.execute("COMMIT")
            self._lanes = None
        except (sqlite3.Error, ValueError) as error:
            raise SpoolFault(f"{self.database}: {error}") from error
        return connection

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[Transaction]:
        """See :meth:`smtprelay.spool.writer.Engine.transaction`."""
        assert isinstance(connection, sqlite3.Connection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction = self._begun(connection)
            yield transaction
            transaction.finish()
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            if isinstance(error, _OURS):
                raise
            raise SpoolFault(str(error), full="full" in str(error)) from error
        except Exception:
            self._roll_back(connection)
            raise

    def disconnect(self, connection: Connection) -> None:
        """Close the database; what the write-ahead log holds goes into it."""
        assert isinstance(connection, sqlite3.Connection)
        connection.close()

    def _begun(self, connection: sqlite3.Connection) -> Transaction:
        now = self.seconds()
        if self._lanes is None:
            self._lanes = Lanes(connection.execute)
        self._lanes.begin(now)
        return Transaction(connection, self._lanes, now=now, node=NODE, paces=self.paces, lease=self.lease)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._lanes = None
        if connection.in_transaction:
            connection.execute("ROLLBACK")


#: What the database says of a statement, not of itself; its operation alone is at fault.
_OURS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
    "cache_size = -16000",
    "temp_store = MEMORY",
)


def connect_reader(database: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def prepare_folder(path: str) -> Path:
    """
    Make the spool's folder and file, for our eyes only.

    :raises OSError: it cannot be made or written.
    """
    folder = Path(path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(folder / DATABASE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return folder


async def open_sqlite(
    path: str, *, reactor: Any, paces: Mapping[str, Pace], events: Events, lease: float = 60.0
) -> QueueSpool:
    """
    Open the spool in the folder ``path``, made if it is missing.

    :param reactor: the clock and the thread to which results come back.
    :raises SpoolBusy: another process has it.
    :raises OSError: the folder cannot be made or written.
    :raises SpoolFault: the database cannot be used.
    """
    folder = prepare_folder(path)
    lock = SpoolLock(folder)
    engine = SqliteEngine(database=str(folder / DATABASE), paces=paces, lease=lease, seconds=reactor.seconds)
    writer = ThreadWriter(engine, reactor, events, "spool-writer")
    try:
        await writer.start()
    except Exception:
        await writer.abandon()
        lock.release()
        raise
    reader = ThreadReader(partial(connect_reader, folder / DATABASE), sqlite3.Connection.close, reactor)
    return QueueSpool(writer, reader, paces, events, measure=lambda _: measure(folder), release=lock.release)


def measure(folder: Path) -> tuple[int, int | None]:
    """Return the bytes that the spool's files take, and those that are free beside them."""
    size = sum(file.stat().st_size for file in folder.glob(f"{DATABASE}*"))
    system = os.statvfs(folder)
    return size, system.f_bavail * system.f_frsize
