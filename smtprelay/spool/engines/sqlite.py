"""
The embedded engine: SQLite, one process, one connection that writes.

``synchronous=FULL`` with a write-ahead log makes one sync of one file per commit;
that sync is the promise behind every 250. Reading has a connection and a thread of
its own, and never waits for the writer.

A sync that failed is never believed later: the kernel may have dropped the pages and call the next
sync of the same file a success. What had been written then was not promised to anybody, its
connection is closed, and whoever opens the next one first has all that can be read from the log
written into the database, anew, and synced; only then is anything built on it.
"""

import atexit
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from smtprelay.spool.engines import sqlite_file
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.reader import ThreadReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.sqlite_reserve import Reserve
from smtprelay.spool.engines.transaction import Connection, SpoolFault, SpoolNode, Transaction
from smtprelay.spool.engines.writer import ThreadWriter
from smtprelay.spool.receive.capacity import DiskSpace
from smtprelay.spool.spool import QueueSpool
from smtprelay.spool.tables.hold_rules import HoldRules
from smtprelay.spool.tables.lanes import LaneTable
from smtprelay.spool.tables.schema import SQLITE_TYPES, migrate

#: The database within the spool's folder.
DATABASE: Final = "spool.db"

#: The bytes of the log at most.
LOG: Final = 16 * 1024 * 1024


class SqliteConnection(sqlite3.Connection):
    """A connection that writes."""

    def run(self, sql: str, parameters: Sequence[Any] = (), /) -> None:
        # execute() would also ask for the number of the row: once more without the interpreter's lock.
        if parameters:
            self.executemany(sql, (parameters,))
        else:
            self.execute(sql)


@define(kw_only=True)
class SqliteEngine(Engine):
    """
    The engine of the only process on the spool: opens connections, runs transactions, empties the log.

    :ivar database: the file, or ``":memory:"``.
    :ivar seconds: gives the time, on any thread.
    :ivar log: it is emptied into the database when it has so many bytes.
    :ivar lock: keeps other processes off the spool.
    """

    database: str
    node: SpoolNode
    seconds: Callable[[], float]
    log: int = LOG
    reserve: Reserve | None = None
    lock: SpoolLock | None = None
    _file: Path | None = field(init=False)
    #: This process alone writes, so that what it knows of the lanes stays true; of the rules, too.
    _lanes: LaneTable | None = field(default=None, init=False)
    _hold_rules: HoldRules | None = field(default=None, init=False)

    @_file.default
    def _no_file_in_memory(self) -> Path | None:
        return None if self.database == ":memory:" else Path(self.database)

    def connect(self) -> SqliteConnection:
        """
        Open the database, make durable what can be read from its log, and bring its tables up to date.

        :raises SpoolFault: it cannot be opened, or a newer version wrote it.
        """
        connection = None
        try:
            connection = open_file(self.database, cached_statements=256)
            _configure(connection)
            if self._file is None:
                _empty_spool().backup(connection)
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA wal_autocheckpoint = {self.log // page}")
            _empty_log(connection, "TRUNCATE")
            connection.execute("BEGIN IMMEDIATE")
            migrate(connection, repr(self.seconds()), SQLITE_TYPES)
            connection.execute("COMMIT")
            self._lanes = self._hold_rules = None
        except (sqlite3.Error, SpoolFault) as error:
            if connection is not None:
                self.disconnect(connection)
            raise SpoolFault(f"{self.database}: {error}", full=_is_full(error), broken=True) from error
        return connection

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[Transaction]:
        assert isinstance(connection, SqliteConnection)
        try:
            connection.execute("BEGIN IMMEDIATE")
            transaction = self._begun(connection)
            yield transaction
            transaction.finish()
            connection.commit()
        except sqlite3.DatabaseError as error:
            self._roll_back(connection)
            if isinstance(error, _OURS):
                raise
            fault = _fault(error)
            if fault.full:
                # What the log holds may find its place in the database; then its room is for what comes.
                with suppress(sqlite3.Error):
                    _empty_log(connection, "RESTART")
            raise fault from error
        except Exception:
            self._roll_back(connection)
            raise

    def disconnect(self, connection: Any) -> None:
        """Close the database; what the write-ahead log holds goes into it, now or when it is opened again."""
        with suppress(sqlite3.Error):
            connection.close()

    def reading(self) -> sqlite3.Connection:
        return connect_reader(Path(self.database))

    def fault(self, error: Exception) -> SpoolFault | None:
        ours = not isinstance(error, sqlite3.DatabaseError) or isinstance(error, _OURS)
        return None if ours else _fault(error)

    space = staticmethod(sqlite_file.space)
    shrink = staticmethod(sqlite_file.shrink)
    verify = staticmethod(sqlite_file.verify)

    def release(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def measure(self, _: Connection) -> tuple[int, int | None]:
        return (0, None) if self._file is None else sqlite_file.measure(self._file)

    def disk(self, connection: Connection) -> DiskSpace:
        return sqlite_file.disk(connection, self._file, LOG)

    def reuse_log(self, connection: Connection) -> None:
        _empty_log(connection, "RESTART")

    def cut_log(self, connection: Connection) -> None:
        """Not on a disk that is full: delivery needs the log's room, and somebody else would take it."""
        if self.reserve is None or self.reserve.kept:
            sqlite_file.cut_log(connection)

    def _begun(self, connection: SqliteConnection) -> Transaction:
        now = self.seconds()
        if self._lanes is None or self._hold_rules is None:
            self._lanes = LaneTable(connection, self.node.rate_limits)
            self._hold_rules = HoldRules(connection)
        self._lanes.begin(now)
        return Transaction(connection, self.node, self._lanes, now, hold_rules=self._hold_rules)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._lanes = self._hold_rules = None
        self.node.exclusive.suspects = True
        # Where even that fails the next transaction cannot begin, and says that the connection is broken.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


#: What the database says of a statement, not of itself; its operation alone is at fault.
_OURS: Final = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)

_PRAGMAS: Final = (
    # Before anything is written: these two decide how the file is made. A body takes many pages, each of
    # them a write of its own to the log: at 5 MB a fifth of what a mail costs in all is gone with these.
    "page_size = 16384",
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    "journal_size_limit = 67108864",
    "cache_size = -16000",
    "temp_store = MEMORY",
    # Some builds overwrite with zeros whatever is deleted: that would write each body once more.
    "secure_delete = FAST",
)


#: There is no room, or another one has it now: it passes, and the connection is as good as it was.
_PASSES: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def open_file(database: str, mode: str = "rw", **options: Any) -> SqliteConnection:
    """
    Open a database that is there, on any thread; ``":memory:"`` is a new one.

    A file that is gone, as when its disk is not mounted any more, is not made anew: it would be empty.
    """
    place = database if database == ":memory:" else f"{Path(database).absolute().as_uri()}?mode={mode}"
    connection: SqliteConnection = sqlite3.connect(
        place, uri=True, isolation_level=None, check_same_thread=False, factory=SqliteConnection, **options
    )
    return connection


def _configure(connection: Connection) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


@cache
def _empty_spool() -> sqlite3.Connection:
    """Return what spools in memory begin as: a copy takes a thirtieth of the time that all migrations do."""
    connection = open_file(":memory:")
    atexit.register(connection.close)
    _configure(connection)
    migrate(connection, "0.0", SQLITE_TYPES)
    return connection


def _empty_log(connection: Connection, mode: str) -> None:
    """
    Have all that the write-ahead log holds in the database, and synced, as far as there is room.

    :param mode: ``TRUNCATE`` cuts the log off; ``RESTART`` keeps its room, which on a full disk somebody else
        would take.
    """
    try:
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    except sqlite3.OperationalError as error:
        if _code(error) not in _PASSES:
            raise


def _fault(error: Exception) -> SpoolFault:
    return SpoolFault(str(error), full=_is_full(error), broken=_code(error) not in _PASSES)


def _is_full(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_FULL


def _code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 if the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def connect_reader(database: Path, *, frozen: bool = False) -> sqlite3.Connection:
    """Open a connection that cannot write; ``frozen``: nobody can, as on a disk that is read-only."""
    connection = open_file(str(database), mode="ro&immutable=1" if frozen else "rw")
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


async def open_sqlite(path: str, options: SpoolOptions, *, reactor: Any, reserve: int = 0) -> QueueSpool:
    """
    Open the spool in the folder ``path``, made if it is missing.

    :param reactor: the clock and the thread to which results come back.
    :param reserve: bytes that are kept for delivery on a full disk, where that is not too small for it.
    :raises SpoolBusy: another process has it.
    :raises OSError: the folder cannot be made or written.
    :raises SpoolFault: the database cannot be used.
    """
    folder = prepare_folder(path)
    lock = SpoolLock(folder)
    kept = _reserve(folder, reserve)
    engine = SqliteEngine(
        database=str(folder / DATABASE),
        node=options.node,
        seconds=reactor.seconds,
        # What it holds must find room in the reserve, and itself may grow by as much.
        log=LOG if kept is None else min(LOG, kept.size // 2),
        reserve=kept,
        lock=lock,
    )
    writer = ThreadWriter(engine, reactor, options.events, "spool-writer")
    try:
        await writer.start()
    except Exception:
        await writer.abandon()
        lock.release()
        raise
    # One of the threads may be at a long question.
    return QueueSpool(writer, ThreadReader(engine, reactor, threads=2), options, engine)


def _reserve(folder: Path, largest: int) -> Reserve | None:
    """Return the reserve; given up at once on a disk so full that the database may not even be opened."""
    if not largest:
        return None
    reserve = Reserve(folder, largest)
    reserve.review(troubled=True)
    if not reserve.kept:
        reserve.give_up()
    return reserve
