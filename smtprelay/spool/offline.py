"""
The spool without a daemon: what the CLI does when nobody answers on the control socket.

Looking needs no lock. Changing takes the node's lock for as long as the spool is
open, so that it can never happen behind a running daemon's back.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from smtprelay.queue import Detail, Edit, LaneState, Selection, Summary
from smtprelay.spool import edit, query
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.sqlite import DATABASE, SqliteEngine


class OfflineSpool:
    """A spool on disk that is asked and changed directly."""

    def __init__(self, path: str) -> None:
        self._folder = Path(path)
        if not (self._folder / DATABASE).exists():
            raise FileNotFoundError(f"there is no spool in {path}")
        self._connection = sqlite3.connect(self._folder / DATABASE)
        self._connection.execute("PRAGMA query_only = ON")

    def list(self, selection: Selection) -> Sequence[Summary]:
        """Return the deliveries that match, the oldest first. Unknown ids: ``LookupError``."""
        return query.summaries(self._connection, selection, {})

    def show(self, message: str) -> Sequence[Detail]:
        """Return all that is known of one message's deliveries, or raise ``LookupError``."""
        return query.details(self._connection, message, {})

    def lanes(self) -> Sequence[LaneState]:
        """Return all lanes."""
        return query.lane_states(self._connection)

    def edit(self, selection: Selection, change: Edit) -> Sequence[str]:
        """
        Carry out ``change``; return the ids of the deliveries.

        :raises SpoolBusy: a daemon has the spool: ask it instead.
        :raises LookupError: an id is unknown or ambiguous.
        :raises ValueError: nothing is selected, or there is no such action.
        """
        lock = SpoolLock(self._folder)
        engine = SqliteEngine(database=str(self._folder / DATABASE), paces={}, lease=60.0, seconds=time.time)
        try:
            connection = engine.connect()
            with engine.transaction(connection) as transaction:
                done = edit.edit(transaction, selection, change)
            engine.disconnect(connection)
        finally:
            lock.release()
        return done

    def close(self) -> None:
        """Let go of the spool."""
        self._connection.close()


def open_spool(path: str) -> OfflineSpool:
    """
    Open the spool in the folder ``path``.

    :raises FileNotFoundError: there is none.
    :raises OSError: it cannot be opened.
    """
    return OfflineSpool(path)
