"""
Where a spool lies, in a folder or in a database, and how it is opened while no relay runs.

It is the same spool with the same operations, on the caller's thread. Looking needs no lock; what changing
takes its :class:`SpoolLocation` knows.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, execute

from smtprelay.spool.engines import sqlite_file
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import DATABASE, SqliteEngine, connect_reader, prepare_folder
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.transaction import Connection, SpoolFault, SpoolNode, Transaction
from smtprelay.spool.engines.writer import InlineWriter, Operation, Writer
from smtprelay.spool.maintenance.check import snapshot
from smtprelay.spool.spool import QueueSpool
from smtprelay.spool.tables.lanes import LaneTable
from smtprelay.spool.tables.schema import check_version
from smtprelay.telemetry.log import Fanout

T = TypeVar("T")

_DRIVER: Final = "the engine postgres needs psycopg: pip install 'smtprelay[postgres]'"


class SpoolLocation(Protocol):
    """Where a spool lies; ``str()`` names it in messages."""

    @property
    def shared(self) -> bool:
        """Whether other relays may use it."""

    @property
    def engine(self) -> Engine:
        """The engine of the spool."""

    def reading(self) -> AbstractContextManager[Connection]:
        """
        Give a connection that cannot write.

        :raises FileNotFoundError: there is no spool.
        :raises SpoolFault: it cannot be used, or is of another version.
        """

    def writing(self, *, new: bool = False) -> AbstractContextManager[InlineWriter]:
        """
        Give a writer while no other process writes.

        :param new: make the spool if there is none.
        :raises FileNotFoundError: there is none.
        :raises SpoolBusy: a relay has it, and no other process may write.
        :raises SpoolFault: it cannot be used.
        """


@frozen
class SqliteLocation:
    """
    A spool in a folder.

    Who changes something holds the node's lock, so that it never happens behind a running relay's back, and
    brings an older spool up to date, as the relay would.
    """

    path: Path
    shared: ClassVar[bool] = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def engine(self) -> SqliteEngine:
        """The engine of the spool."""
        return SqliteEngine(
            database=str(self.path / DATABASE), node=SpoolNode(rate_limits={}), seconds=time.time
        )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that cannot write."""
        # No process has it open, and we cannot create the files that a reader needs.
        beside = (self.path / f"{DATABASE}-{name}" for name in ("wal", "shm"))
        frozen = not os.access(self.path, os.W_OK) and not any(file.exists() for file in beside)
        with closing(connect_reader(self._existing() / DATABASE, frozen=frozen)) as connection:
            check_version(connection)
            yield connection

    @contextmanager
    def writing(self, *, new: bool = False) -> Iterator[InlineWriter]:
        """Give a writer while no other process writes."""
        with self._locked(new=new), closing(InlineWriter(self.engine)) as writer:
            yield writer

    def compact(self) -> tuple[int, int]:
        """
        Write the spool's file anew, as small as can be; return the bytes before and after.

        Raises as :meth:`writing`.
        """
        with self._locked() as folder:
            return sqlite_file.compact(folder / DATABASE)

    @contextmanager
    def _locked(self, *, new: bool = False) -> Iterator[Path]:
        folder = prepare_folder(str(self.path)) if new else self._existing()
        lock = SpoolLock(folder)
        try:
            yield folder
        finally:
            lock.release()

    def _existing(self) -> Path:
        if not (self.path / DATABASE).exists():
            raise FileNotFoundError(f"there is no spool in {self.path}: the first start of a relay makes one")
        return self.path


class DriverMissing(Exception):  # noqa: N818 -- what is the matter
    """The software that speaks to the database is not installed; the text says how to get it."""


def in_database(url: Callable[[], str], lease: float) -> SpoolLocation:
    """
    Return where the spool lies in the database that ``url`` gives a connection string for.

    :param lease: that of the relays, seconds.
    :raises DriverMissing: there is no psycopg.
    """
    with driver():
        from smtprelay.spool.postgres_location import PostgresLocation  # noqa: PLC0415 -- an optional dependency

    return PostgresLocation(url, lease)


@contextmanager
def driver() -> Iterator[None]:
    """Have an import within that fails become :class:`DriverMissing`."""
    try:
        yield
    except ImportError as error:
        raise DriverMissing(f"{_DRIVER} ({error})") from error


class OfflineSpool:
    """
    A spool that is opened directly; raises what its :class:`SpoolLocation` does.

    :param keep: open it for changes now, until :meth:`close`: no other process changes it meanwhile.
    :param new: so, and make it if there is none.
    """

    def __init__(self, location: SpoolLocation, *, keep: bool = False, new: bool = False) -> None:
        self._location = location
        self._connection: Connection | None = None
        self._open = ExitStack()
        self._kept: QueueSpool | None = None
        try:
            if new:
                self._kept = self._spool(self._open.enter_context(location.writing(new=True)))
            elif keep:
                self._kept = self._spool(self._writer(self._open))
        except Exception:
            self.close()
            raise

    @contextmanager
    def opened(self, *, changing: bool) -> Iterator[QueueSpool]:
        """Give the spool; one that is only looked at may be used until :meth:`close`."""
        with ExitStack() as open_:
            if self._kept is not None:
                yield self._kept
            elif changing:
                yield self._spool(self._writer(open_))
            else:
                yield self._spool(_ReadingWriter(self._reading(), AssertionError("not open for changes")))

    def close(self) -> None:
        """Let go of the spool."""
        self._open.close()

    def _spool(self, writer: Writer) -> QueueSpool:
        options = SpoolOptions(rate_limits={}, events=Fanout(()))
        return QueueSpool(writer, InlineReader(self._reading()), options, self._location.engine)

    def _writer(self, open_: ExitStack) -> Writer:
        """Return what changes the spool; where that cannot be opened, what can still be looked at."""
        try:
            return open_.enter_context(self._location.writing())
        except (OSError, SpoolFault) as error:
            return _ReadingWriter(self._reading(), error)

    def _reading(self) -> Connection:
        if self._connection is None:
            self._connection = self._open.enter_context(self._location.reading())
        return self._connection


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, or raise what it raises."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    return results[0]


class _ReadingWriter:
    """
    Runs the operations that change nothing, as a copy into an archive does.

    :param why: what an operation fails with that would change something.
    """

    def __init__(self, connection: Any, why: Exception) -> None:
        self._connection = connection
        self._why = why

    def do(self, operation: Operation[T]) -> Deferred[T]:
        return execute(self._run, operation)

    def close(self) -> Deferred[None]:
        raise AssertionError("nothing was opened")

    def _run(self, operation: Operation[T]) -> T:
        lanes, now = LaneTable(self._connection, {}), time.time()
        lanes.begin(now)
        tx = Transaction(self._connection, SpoolNode(rate_limits={}), lanes, now)
        with snapshot(self._connection):
            try:
                result = operation(tx)
                tx.finish()
            except (sqlite3.Error, SpoolFault) as error:
                if "readonly" in str(error) or "read-only" in str(error):
                    raise self._why from error
                raise
        return result
