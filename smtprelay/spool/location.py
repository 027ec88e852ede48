"""
Where a spool lies whose relay does not run: in a folder, or in a database.

What looks at it and what changes it from outside the relay (:mod:`smtprelay.spool.offline`) knows no more of
it than this.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import ClassVar, Final, Protocol

from attrs import frozen

from smtprelay.spool.engines import sqlite_file
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.schema import check_version
from smtprelay.spool.engines.sqlite import DATABASE, SqliteEngine, connect_reader, prepare_folder
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.transaction import Connection, SpoolFault
from smtprelay.spool.engines.writer import InlineWriter


class SpoolLocation(Protocol):
    """Where a spool lies; ``str`` says it to people."""

    @property
    def engine(self) -> Engine:
        """What keeps it."""

    @property
    def shared(self) -> bool:
        """Whether other relays may be at work on it."""

    def reading(self) -> AbstractContextManager[Connection]:
        """
        Give a connection that cannot write.

        :raises FileNotFoundError: there is no spool.
        :raises SpoolFault: it cannot be used, or is of another version.
        """

    def writing(self, *, new: bool = False) -> AbstractContextManager[InlineWriter]:
        """
        Give a writer while nobody can be in its way.

        :param new: make the spool if there is none.
        :raises FileNotFoundError: there is none.
        :raises SpoolBusy: a relay has it, and nobody else may write.
        :raises SpoolFault: it cannot be used.
        """


@frozen
class SqliteLocation:
    """
    The ground of the embedded engine, see :class:`SpoolLocation`.

    Looking needs no lock. Who changes something holds the node's, so that it can never happen behind a
    running relay's back; and brings an older spool up to date, as the relay would.
    """

    path: Path
    shared: ClassVar[bool] = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def engine(self) -> SqliteEngine:
        """The engine, for what only it can tell."""
        return SqliteEngine(database=str(self.path / DATABASE), paces={}, lease=60.0, seconds=time.time)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that cannot write."""
        with closing(connect_reader(self.existing() / DATABASE, frozen=self._is_frozen())) as connection:
            try:
                check_version(connection)
            except ValueError as error:
                raise SpoolFault(str(error)) from error
            yield connection

    def _is_frozen(self) -> bool:
        """Whether nobody has the spool open, and we cannot make the files beside it that a reader needs."""
        beside = (self.path / f"{DATABASE}-{name}" for name in ("wal", "shm"))
        return not os.access(self.path, os.W_OK) and not any(file.exists() for file in beside)

    @contextmanager
    def writing(self, *, new: bool = False) -> Iterator[InlineWriter]:
        """Give a writer while nobody can be in its way."""
        folder = prepare_folder(str(self.path)) if new else self.existing()
        lock = SpoolLock(folder)
        try:
            writer = InlineWriter(self.engine)
            try:
                yield writer
            finally:
                writer.close()
        finally:
            lock.release()

    def compact(self) -> tuple[int, int]:
        """
        Write the spool's file anew, as small as can be; return the bytes before and after.

        Raises as :meth:`writing`.
        """
        folder = self.existing()
        lock = SpoolLock(folder)
        try:
            return sqlite_file.compact(folder / DATABASE)
        finally:
            lock.release()

    def existing(self) -> Path:
        """Return the folder if there is a spool in it; raises ``FileNotFoundError``."""
        if not (self.path / DATABASE).exists():
            raise FileNotFoundError(f"there is no spool in {self.path}")
        return self.path


class DriverMissing(Exception):  # noqa: N818 -- what is the matter
    """The software that speaks to the database is not installed; the text says how to get it."""


def in_database(url: Callable[[], str], lease: float) -> SpoolLocation:
    """
    Return the ground of the spool in the database that ``url`` gives a connection string for.

    :param lease: that of the relays, seconds.
    :raises DriverMissing: there is no psycopg.
    """
    with driver():
        from smtprelay.spool.postgres_location import PostgresLocation  # noqa: PLC0415 -- needs what not everybody has

    return PostgresLocation(url, lease)


@contextmanager
def driver() -> Iterator[None]:
    """Have an import within that fails become :class:`DriverMissing`."""
    try:
        yield
    except ImportError as error:
        raise DriverMissing(f"{_DRIVER} ({error})") from error


_DRIVER: Final = "the engine postgres needs psycopg: pip install 'smtprelay[postgres]'"
