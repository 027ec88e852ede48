"""
Export, import and upkeep of a spool without a daemon.

The same functions as the daemon's, each in a transaction of its own.
"""

from smtprelay.model.maintenance import Checked
from smtprelay.spool.archive import SpoolArchive
from smtprelay.spool.engines import sqlite_file
from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.sqlite import DATABASE
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.writer import InlineWriter
from smtprelay.spool.location import SpoolLocation, SqliteLocation
from smtprelay.spool.maintenance.check import checked
from smtprelay.spool.maintenance.recount import recount as count_anew
from smtprelay.telemetry.log import Fanout


def transfer(writer: InlineWriter) -> SpoolArchive:
    """Return the export and import of a spool that is open; its coroutines wait for nobody."""
    return SpoolArchive(writer, InlineReader(writer.connection), Fanout(()), lambda: None)


def recount(location: SpoolLocation) -> int:
    """Count the lanes anew; return how many were wrong. Raises what opening it raises."""
    with location.writing() as writer:
        return writer.run(count_anew)


def check(location: SpoolLocation, *, deep: bool = False) -> Checked:
    """
    Check the spool, whoever has it.

    :raises Exception: what :meth:`smtprelay.spool.location.SpoolLocation.reading` raises.
    """
    connection = location.reading()
    try:
        return checked(connection, location.verify if deep else lambda _: ())
    finally:
        location.leave(connection)


def compact(folder: SqliteLocation) -> tuple[int, int]:
    """
    Write the spool's file anew, as small as can be; return the bytes before and after.

    :raises SpoolBusy: a daemon has it.
    :raises FileNotFoundError: there is none.
    """
    path = folder.existing()
    lock = SpoolLock(path)
    try:
        return sqlite_file.compact(path / DATABASE)
    finally:
        lock.release()
