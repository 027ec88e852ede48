"""
Export, import and upkeep of a spool without a daemon.

The same functions as the daemon's, each in a transaction of its own.
"""

from smtprelay.log import Telling
from smtprelay.spool import shrink
from smtprelay.spool.check import checked
from smtprelay.spool.ground import Folder, Ground
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.memory import InlineReader
from smtprelay.spool.recount import recount as count_anew
from smtprelay.spool.sqlite import DATABASE
from smtprelay.spool.transfer import SpoolTransfer
from smtprelay.spool.writer import InlineWriter
from smtprelay.upkeep import Checked


def transfer(writer: InlineWriter) -> SpoolTransfer:
    """Return the export and import of a spool that is open; its coroutines wait for nobody."""
    return SpoolTransfer(writer, InlineReader(writer.connection), Telling(()), lambda: None)


def recount(ground: Ground) -> int:
    """Count the lanes anew; return how many were wrong. It raises what :meth:`Ground.writing` raises."""
    with ground.writing() as writer:
        return writer.run(count_anew)


def check(ground: Ground, *, deep: bool = False) -> Checked:
    """
    Check the spool, whoever has it.

    :raises Exception: what :meth:`smtprelay.spool.ground.Ground.reading` raises.
    """
    connection = ground.reading()
    try:
        return checked(connection, ground.verify if deep else lambda _: ())
    finally:
        ground.leave(connection)


def compact(folder: Folder) -> tuple[int, int]:
    """
    Write the spool's file anew, as small as can be; return the bytes before and after.

    :raises SpoolBusy: a daemon has it.
    :raises FileNotFoundError: there is none.
    """
    path = folder.existing()
    lock = SpoolLock(path)
    try:
        return shrink.compact(path / DATABASE)
    finally:
        lock.release()
