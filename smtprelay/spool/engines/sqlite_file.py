"""
What only SQLite can be asked of its file: how much is free in it, to give that back, and whether it is whole.

A deleted row leaves a free page, and the file its size. In a file that was made with
``auto_vacuum = INCREMENTAL`` free pages can be cut off at the end, a few at a time; the write-ahead log
is cut off when all of it has reached the file.
"""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from smtprelay.model.queue_admin import Space
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.receive.capacity import DiskSpace

#: How long one step takes, seconds, and how many pages it frees before it looks at the time.
_STEP: Final = 0.02
_PAGES: Final = 128

#: A write-ahead log of this size is left alone, bytes.
_SMALL_LOG: Final = 1024 * 1024

_INCREMENTAL: Final = 2


def measure(database: Path) -> tuple[int, int | None]:
    """Return the bytes that the spool's files take, and those that are free beside them."""
    size = sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*"))
    system = os.statvfs(database.parent)
    return size, system.f_bavail * system.f_frsize


def disk(connection: Connection, database: Path | None, log: int) -> DiskSpace:
    """
    Return the disk under ``database``; ``None``: a database in memory has none.

    Pages of the database that hold nothing are used again before the file grows. What the log may still
    grow by, and the database when it gets what the log holds, is as good as taken: without that room
    the log could not be emptied, and nothing could be written at all.

    :param log: the bytes of the log at most.
    """
    page, pages, spare = (_pragma(connection, name) for name in ("page_size", "page_count", "freelist_count"))
    used = page * (pages - spare)
    if database is None:
        return DiskSpace(used=used)
    system = os.statvfs(database.parent)
    growth = max(0, page * pages - _size(database)) + max(0, log - _log_size(connection))
    left = system.f_bavail * system.f_frsize + page * spare - growth
    return DiskSpace(used=used, left=left, whole=system.f_blocks * system.f_frsize)


def space(connection: Connection) -> Space:
    """Tell how much room the spool takes, at a cost that does not grow with it."""
    pages, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
    size = _pragma(connection, "page_size")
    log = _log_size(connection)
    spare = free * size if _can_shrink(connection) else 0
    return Space(used=(pages - free) * size, spare=spare + (log if log > _SMALL_LOG else 0))


def shrink(tx: Transaction, spare: int) -> int:
    """Cut off free pages beyond ``spare`` bytes for a moment; return the bytes that are left to give."""
    if not _can_shrink(tx):
        return 0
    size = _pragma(tx, "page_size")
    keep = spare // size
    end = time.monotonic() + _STEP
    while (free := _pragma(tx, "freelist_count")) > keep and time.monotonic() < end:
        tx.execute(f"PRAGMA incremental_vacuum({min(_PAGES, free - keep)})").fetchall()
    return max(0, free - keep) * size


def cut_log(connection: Connection) -> None:
    """Cut off the log, if it is large, and nobody writes or reads in it just now; else another time."""
    if _log_size(connection) <= _SMALL_LOG:
        return
    patience = _pragma(connection, "busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0").fetchall()
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.execute(f"PRAGMA busy_timeout = {patience}").fetchall()


def verify(connection: Connection) -> list[str]:
    """Read every page of the file; return what is wrong with it."""
    found = []
    try:
        cursor = connection.execute("PRAGMA integrity_check")
        while row := cursor.fetchone():
            found.append(row[0])
    except sqlite3.DatabaseError as error:
        # It stops at some damages, after it has reported what it found until there.
        found.append(str(error))
    return [f"the file is damaged: {text}" for text in found if text != "ok"]


def compact(database: Path) -> tuple[int, int]:
    """
    Write the database anew, without its free pages, and as one that shrinks by itself from now on.

    It needs as much room again while it runs. Returns the bytes before and after.

    :raises sqlite3.Error: somebody else uses it, or there is no room; it is as it was.
    """
    before = database.stat().st_size
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()
    return before, database.stat().st_size


def _can_shrink(connection: Connection) -> bool:
    return _pragma(connection, "auto_vacuum") == _INCREMENTAL


def _log_size(connection: Connection) -> int:
    """Return the size of the write-ahead log; a database in memory has none."""
    _, _, file = connection.execute("PRAGMA database_list").fetchone()
    return _size(Path(f"{file}-wal")) if file else 0


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _pragma(connection: Connection, name: str) -> int:
    row: Any = connection.execute(f"PRAGMA {name}").fetchone()
    return int(row[0])
